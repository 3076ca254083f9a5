// Image: a PIL picture as a file that can be served. Raw pixels come over the wire as an attachment and are encoded here, so
// Python is free again while sharp works. Knows PIL and sharp; where the file goes is the request's FileStore.
import sharp from "sharp";
import { z } from "zod";
import { currentFrame } from "../app/context.ts";
import type { PyLike } from "../bridge/stub-types.ts";
import { recipeOf } from "../bridge/values.ts";
import { limits } from "../config.ts";
import { FlambeauError } from "../errors.ts";

const ImageSchema = z
  .object({
    url: z.string().meta({ description: "Where the picture can be read." }),
    width: z.int().meta({ description: "Pixels." }),
    height: z.int().meta({ description: "Pixels." }),
    content_type: z.string().meta({ description: "Media type.", examples: ["image/png"] }),
    file_name: z.string(),
    file_size: z.int().meta({ description: "Bytes." }),
  })
  .meta({ id: "Image" });
/** What `Image.schema` checks and `Image.fromPil` gives: where the picture is, its size in pixels and bytes, its type. */
export type ImageOutput = z.output<typeof ImageSchema>;

export interface ImageOptions {
  /** "png" by default: no loss. */
  readonly format?: "png" | "jpeg" | "webp";
  /** 1 to 100, for jpeg and webp; 95 and 90 by default. */
  readonly quality?: number;
  /** As a data URI in `url` instead of a stored file. */
  readonly inline?: boolean;
}

/** What Python answers for a PIL image. */
const Pixels = z.object({
  width: z.int(),
  height: z.int(),
  channels: z.union([z.literal(1), z.literal(3), z.literal(4)]),
  data: z.instanceof(Uint8Array),
});
type Pixels = z.output<typeof Pixels>;

/** zlib level 1: pictures of a model hardly shrink further, and level 9 takes ten times as long. */
const PNG_LEVEL = 1;
const QUALITY = { jpeg: 95, webp: 90 } as const;

/** A picture in an output: `z.object({ image: Image.schema })`, and `image: await Image.fromPil(picture)`. */
export const Image = {
  /** The JSON of a picture in an output. */
  schema: ImageSchema,

  /**
   * Encodes a PIL image and keeps it where the request's files go; outside of a request it is a data URI. The pixels come over as they
   * are, so that Python goes on while they are encoded. The request's cancel stops it.
   * @param image a PIL image of at most 268 million pixels; modes other than L, RGB and RGBA are converted
   * @throws FlambeauError NOT_SENDABLE (no picture, or one without pixels), TOO_LARGE, DISK_FULL, CANCELLED; PyError when it is another Python object
   */
  async fromPil(image: PyLike | undefined, options: ImageOptions = {}): Promise<ImageOutput> {
    const pixels = await pixelsOf(image);
    const format = options.format ?? "png";
    const bytes = await encode(pixels, format, options.quality);
    const contentType = `image/${format}`;
    const extension = format === "jpeg" ? "jpg" : format;
    const size = { width: pixels.width, height: pixels.height, content_type: contentType, file_size: bytes.length };
    const frame = currentFrame();
    if (options.inline === true || frame === undefined) {
      return {
        url: `data:${contentType};base64,${bytes.toString("base64")}`,
        file_name: `image.${extension}`,
        ...size,
      };
    }
    const stored = await frame.files.put(bytes, { contentType, extension }, { signal: frame.signal });
    return { url: stored.url, file_name: stored.fileName, ...size };
  },
};

async function pixelsOf(image: PyLike | undefined): Promise<Pixels> {
  if (recipeOf(image) === undefined) {
    const came = image === undefined ? "undefined: the list of pictures was empty" : `a ${typeof image}`;
    throw new FlambeauError("NOT_SENDABLE", `Image.fromPil: expected a PIL image, got ${came}`);
  }
  // `$pixels` is the bridge's, for this room alone, so the public types do not have it.
  const pixels = Pixels.parse(await (image as unknown as { $pixels(): Promise<unknown> }).$pixels());
  if (pixels.width > 0 && pixels.height > 0) return pixels;
  throw new FlambeauError(
    "NOT_SENDABLE",
    `Image.fromPil: expected a picture, got one without pixels: ${pixels.width} x ${pixels.height}`,
  );
}

async function encode(
  { width, height, channels, data }: Pixels,
  format: "png" | "jpeg" | "webp",
  quality?: number,
): Promise<Buffer> {
  if (width * height > limits.imagePixels) {
    throw new FlambeauError(
      "TOO_LARGE",
      `The picture has ${width * height} pixels; at most ${limits.imagePixels} are encoded.`,
    );
  }
  const raw = sharp(data, { raw: { width, height, channels } });
  if (format === "png") return raw.png({ compressionLevel: PNG_LEVEL }).toBuffer();
  const options = { quality: quality ?? QUALITY[format] };
  return format === "jpeg" ? raw.jpeg(options).toBuffer() : raw.webp(options).toBuffer();
}
