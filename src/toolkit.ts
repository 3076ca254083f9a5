// The second public door: what apps call. `import { Image, optimize } from "flambeau/toolkit"`.

// Numbers in bulk.
export { type FloatsOptions, floats } from "./toolkit/floats.ts";
// Pictures in and out.
export { Image, type ImageOptions, type ImageOutput } from "./toolkit/image.ts";
// Models that come along.
export { tinySdxl } from "./toolkit/models.ts";
// Faster modules, in place.
export { type OptimizeOptions, type OptimizeReport, optimize } from "./toolkit/optimize.ts";
