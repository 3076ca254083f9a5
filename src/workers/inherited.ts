// Which variables of the process environment reach Python: an allow-list, so that keys, tokens and injection switches
// (PYTHONPATH, LD_PRELOAD, FLAMBEAU_KEY, cloud credentials) do not. Knows no worker and no installer.

/** Passed on by exact name. */
const NAMES = new Set([
  "PATH",
  "HOME",
  "USER",
  "LOGNAME",
  "LANG",
  "LANGUAGE",
  "TZ",
  "TMPDIR",
  "HUGGING_FACE_HUB_TOKEN",
  // Native libraries of clusters, Nix and driver containers are found only through these; without them the
  // interpreter itself may not start.
  "LD_LIBRARY_PATH",
  "DYLD_LIBRARY_PATH",
  "DYLD_FALLBACK_LIBRARY_PATH",
  // torch.compile and source builds ask for the user's compiler.
  "CC",
  "CXX",
  "MAX_JOBS",
  // Read by python/flambeau/toolkit.py.
  "FLAMBEAU_OPTIMIZE",
  "FLAMBEAU_OPTIMIZE_BUILDS",
  "REQUESTS_CA_BUNDLE",
  "CURL_CA_BUNDLE",
  ...["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"].flatMap((name) => [name, name.toLowerCase()]),
]);

/** Passed on by beginning. TERM is not among them: output goes to a pipe, and colour codes would end in logs. */
const PREFIXES = [
  "LC_",
  "XDG_",
  "SSL_CERT_",
  // models and libraries
  "HF_",
  "TRANSFORMERS_",
  "DIFFUSERS_",
  "TOKENIZERS_",
  "SAFETENSORS_",
  "ACCELERATE_",
  "TQDM_",
  // torch and devices
  "TORCH",
  "PYTORCH_",
  "TRITON_",
  "CUDA_",
  "NVIDIA_",
  "NCCL_",
  "ROCR_",
  "ROCM_",
  "HIP_",
  "HSA_",
  // threads and kernels of CPUs
  "OMP_",
  "GOMP_",
  "KMP_",
  "MKL_",
  "OPENBLAS_",
  "VECLIB_",
  "NUMEXPR_",
  "ATEN_",
  "ONEDNN_",
  "DNNL_",
] as const;

/** Never passed on, even when an app names them: they change what Python runs, or are the server's own secret. */
const isForbidden = (name: string): boolean => name.startsWith("PYTHON") || name === "FLAMBEAU_KEY";

/**
 * What of a process environment a Python process gets. `extra` names further variables, exactly; PYTHON* and
 * FLAMBEAU_KEY are left out whoever asks for them.
 */
export function inheritedEnvironment(
  environment: Readonly<Record<string, string>>,
  extra: readonly string[] = [],
): Record<string, string> {
  const asked = new Set(extra);
  return Object.fromEntries(
    Object.entries(environment).filter(
      ([name]) =>
        !isForbidden(name) &&
        (NAMES.has(name) || asked.has(name) || PREFIXES.some((beginning) => name.startsWith(beginning))),
    ),
  );
}
