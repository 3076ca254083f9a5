// Right: an app over fakes and over the real worker, and Python without an app.
import { type Py, type StartedPython, startPython } from "flambeau";
import { fakeError, fakeImage, type Recorded, type TestedApp, testApp } from "flambeau/testing";
import { TwoDoors } from "./doors.js";

export async function overFakes(): Promise<readonly Recorded[]> {
  const pipeline = Object.assign((_kwargs: { prompt: string }) => ({ images: [fakeImage(64, 64)] }), { unet: {} });
  await using app = await testApp(TwoDoors, {
    modules: { diffusers: { DiffusionPipeline: { from_pretrained: () => pipeline } } },
    device: "cuda",
  });
  const answer: { readonly image: { readonly width: number } } = await app.single.run({ prompt: "a cat" });
  const fakes: TestedApp<TwoDoors> = app;
  return answer.image.width === 64 ? fakes.$calls : [];
}

export async function overPython(signal: AbortSignal): Promise<number> {
  await using app = await testApp(TwoDoors, { python: "real", signal });
  await using py: StartedPython = await startPython({ requirements: ["numpy"], signal });
  const base: Py = app.base;
  return (await py.import("numpy").arange(3).sum().item().$number()) + base.$length;
}

export const raised: Error = fakeError("torch.OutOfMemoryError", "no room");
// @ts-expect-error a device that no machine has
testApp(TwoDoors, { device: "tpu" });
