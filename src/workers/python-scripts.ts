// The few lines of Python that run before there is a worker: in any interpreter from 3.8 on (the probe even in 2.7),
// always with -I, standard library alone. Each prints one line of JSON last.

/** What an interpreter is. Runs in whatever answers to the name of Python, so it uses nothing newer than 2.7. */
export const PROBE = `
import json, os, platform, struct, sys, sysconfig
def has(name):
    try:
        import importlib.util
        return importlib.util.find_spec(name) is not None
    except Exception:
        return False
implementation = getattr(sys, "implementation", None)
base = getattr(sys, "_base_executable", None) or sys.executable
if base == sys.executable:  # Before 3.11 a virtual environment names itself.
    base = os.path.realpath(sys.executable)
full = ".".join(str(part) for part in sys.version_info[:3])
print(json.dumps({
    "executable": sys.executable,
    "base": base,
    "prefix": sys.prefix,
    "version": full,
    "implementation": platform.python_implementation(),
    "abi": sysconfig.get_config_var("SOABI") or "",
    "bits": struct.calcsize("P") * 8,
    "platform": sysconfig.get_platform(),
    "canInstall": has("venv") and (has("pip") or has("ensurepip")),
    "markers": {
        "python_version": ".".join(str(part) for part in sys.version_info[:2]),
        "python_full_version": platform.python_version(),
        "os_name": os.name,
        "sys_platform": sys.platform,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "implementation_name": implementation.name if implementation else "",
        "implementation_version": platform.python_version(),
    },
}))
`;

/** Version of an interpreter's pip, or null. */
export const PIP_VERSION = `
import importlib.metadata, json
try:
    print(json.dumps({"pip": importlib.metadata.version("pip")}))
except importlib.metadata.PackageNotFoundError:
    print(json.dumps({"pip": None}))
`;

/** Installed packages by name and version. */
export const PACKAGES = `
import importlib.metadata, json
found = {}
for distribution in importlib.metadata.distributions():
    name = distribution.metadata["Name"]
    if name and name not in found:
        found[name] = distribution.version
print(json.dumps({"packages": found}))
`;

/** Where a virtual environment keeps its packages, and that it is where its files lie. */
export const LAYOUT = `
import json, sys, sysconfig
print(json.dumps({"prefix": sys.prefix, "packages": sysconfig.get_path("purelib")}))
`;

/**
 * Imports what the named packages (argv) bring, in one process; output of the imports themselves goes to stderr.
 * A package is imported by the module of its own name, else by what its files say.
 */
export const VERIFY = `
import importlib, importlib.metadata, json, os, re, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
def say(value):
    answers.write(json.dumps(value) + "\\n")
    answers.flush()
def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()
wanted = {normal(name) for name in sys.argv[1:]}
modules = {}
for module, names in importlib.metadata.packages_distributions().items():
    if module.isidentifier() and not module.startswith("_"):
        for name in names:
            modules.setdefault(normal(name), set()).add(module)
installed = {}
for distribution in importlib.metadata.distributions():
    installed.setdefault(distribution.metadata["Name"], distribution.version)
present = {normal(name) for name in installed}
failures = {name: "it is not installed" for name in wanted - present}
for number, name in enumerate(sorted(wanted & present)):
    say({"importing": name, "done": number})
    candidates = sorted(modules.get(name, ()))
    own = [module for module in candidates if normal(module) == name]
    reasons = []
    for module in own or candidates:
        try:
            importlib.import_module(module)
            reasons = []
            break
        except BaseException as error:
            reasons.append("import " + module + ": " + type(error).__name__ + ": " + str(error)[:2000])
    if reasons:
        failures[name] = "; ".join(reasons)
say({"failures": failures, "packages": installed})
answers.flush()
os._exit(0)
`;

/**
 * Holds a kernel lock (argv: path, poll seconds) until its stdin ends, that is, until its owner closes it or dies in
 * any way. Lines on stdin: "+N" and "-N", process groups that must not outlive the owner.
 */
export const HOLD_LOCK = `
import fcntl, os, select, signal, sys
path, poll = sys.argv[1], float(sys.argv[2])
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
waiting = False
while True:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
    except BlockingIOError:
        if not waiting:
            os.write(1, b"waiting\\n")
        waiting = True
    if select.select([0], [], [], poll)[0]:
        sys.exit(0)
os.write(1, b"held\\n")
groups, rest = set(), b""
while True:
    chunk = os.read(0, 4096)
    if not chunk:
        break
    *lines, rest = (rest + chunk).split(b"\\n")
    for line in lines:
        (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
`;
