// Wrong: each line that is expected to fail must fail, and would not without generated types.
import type { Py, Python } from "flambeau";

declare const py: Python;
declare const auto: Py<"diffusers.AutoPipelineForText2Image">;
declare const sdxl: Py<"diffusers.StableDiffusionXLPipeline">;

export async function wrong() {
  const torch = py.import("torch");
  const { AutoPipelineForText2Image, StableDiffusionXLPipeline } = py.import("diffusers");
  // @ts-expect-error -- a misspelt keyword of from_pretrained
  AutoPipelineForText2Image.from_pretrained("x", { torch_dtyp: torch.float16 });
  // @ts-expect-error -- the same, of one pipeline
  StableDiffusionXLPipeline.from_pretrained("x", { variantt: "fp16" });
  // @ts-expect-error -- a keyword of another type
  StableDiffusionXLPipeline.from_pretrained("x", { variant: 16 });
  // @ts-expect-error -- no name of a model
  StableDiffusionXLPipeline.from_pretrained();
  // @ts-expect-error -- a misspelt class
  void py.import("diffusers").AutoPipelineForText2Imag;
  // @ts-expect-error -- a misspelt method
  AutoPipelineForText2Image.from_pretraned("x");
  // @ts-expect-error -- a misspelt keyword of a call
  auto({ prompt: "a cat", num_inference_step: 30 });
  // @ts-expect-error -- the same, of one pipeline
  sdxl({ prompt: "a cat", num_inference_step: 30 });
  // @ts-expect-error -- a value of another type
  sdxl({ prompt: 5 });
  // @ts-expect-error -- a misspelt part
  void sdxl.unett;
  // @ts-expect-error -- a misspelt field of the result
  void (await sdxl({ prompt: "x" })).imges;
  // @ts-expect-error -- a dtype is no model
  sdxl.unet = torch.float16;
  // @ts-expect-error -- a misspelt keyword after positional arguments
  torch.zeros(1, 3, { devic: "cpu" });
  // @ts-expect-error -- a misspelt keyword of a module
  torch.nn.Linear(3, 4, { bia: false });
  // @ts-expect-error -- a misspelt function
  torch.zeroes(3);
}
