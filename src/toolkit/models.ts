// Models that come with Flambeau.
import { fileURLToPath } from "node:url";

/**
 * Folder of the bundled SDXL: all parts of the real one in about eleven megabytes, trained to draw simple pictures. Loads like any
 * other: `AutoPipelineForText2Image.from_pretrained(tinySdxl(), { variant: "fp16" })`.
 */
export function tinySdxl(): string {
  return fileURLToPath(new URL("../../python/models/tiny-sdxl", import.meta.url));
}
