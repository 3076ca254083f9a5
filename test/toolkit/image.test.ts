// Image.fromPil with real PIL pictures: what is in the file, what it is called, and what is refused.
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { App } from "../../src/app/app.ts";
import { endpoint } from "../../src/app/endpoint.ts";
import type { PyLike } from "../../src/bridge/stub-types.ts";
import { OutputFolder } from "../../src/cli/output-folder.ts";
import { Image, type ImageOptions } from "../../src/toolkit/image.ts";
import { ending, hostOf, output, scratch } from "../host/fixture.ts";

/** Pictures of two by two pixels. Their values are read back one by one. */
const PICTURES = `
from PIL import Image

def paint(mode, values, size=(2, 2)):
    image = Image.new(mode, size)
    image.putdata(values)
    return image

def palette():
    image = Image.new("P", (2, 2))
    image.putpalette([10, 20, 30, 40, 50, 60, 250, 0, 0, 0, 250, 0])
    image.putdata([0, 1, 2, 3])
    return image

def named(name):
    return {
        "L": lambda: paint("L", [0, 1, 128, 255]),
        "RGB": lambda: paint("RGB", [(255, 0, 0), (0, 254, 0), (0, 0, 253), (1, 2, 3)]),
        "RGBA": lambda: paint("RGBA", [(255, 0, 0, 255), (0, 255, 0, 128), (0, 0, 255, 1), (9, 8, 7, 255)]),
        "LA": lambda: paint("LA", [(10, 255), (20, 128), (30, 1), (40, 255)]),
        "P": palette,
        "1": lambda: paint("1", [0, 255, 255, 0]),
        "I;16": lambda: paint("I;16", [0, 256, 32768, 65535]),
        "large": lambda: Image.new("RGB", (640, 480), (200, 30, 30)),
        "empty": lambda: Image.new("RGB", (0, 3)),
    }[name]()

def not_a_picture():
    return {"width": 2}
`;

class Pictures extends App {
  pictures = this.py.import("pictures");

  save = endpoint(
    "/",
    {
      input: z.object({
        name: z.string(),
        format: z.enum(["png", "jpeg", "webp"]).optional(),
        inline: z.boolean().optional(),
        quality: z.int().optional(),
      }),
      output: Image.schema,
    },
    async ({ name, ...given }) => {
      const options: ImageOptions = JSON.parse(JSON.stringify(given));
      return Image.fromPil(await this.pictures.named(name), options);
    },
  );
  expression = endpoint("/expression", { input: z.object({}), output: Image.schema }, () =>
    Image.fromPil(this.pictures.named("L")),
  );
  refused = endpoint(
    "/refused",
    { input: z.object({ what: z.enum(["undefined", "dict", "text"]) }), output: Image.schema },
    async ({ what }) => {
      if (what === "undefined") return Image.fromPil(undefined);
      return Image.fromPil(what === "dict" ? await this.pictures.not_a_picture() : ("text" as unknown as PyLike));
    },
  );
}

async function pictures() {
  const folder = await scratch({ "pictures.py": PICTURES });
  const { host } = await hostOf(Pictures, {
    file: `${folder}/app.ts`,
    files: new OutputFolder(`${folder}/out`, "pictures"),
  });
  const save = async (input: Record<string, unknown>) => Image.schema.parse(await output(host.submit("/", input)));
  return { host, save };
}

async function pixelsOf(bytes: Buffer): Promise<{ channels: number; values: number[] }> {
  const { data, info } = await sharp(bytes).raw().toBuffer({ resolveWithObject: true });
  return { channels: info.channels, values: [...data] };
}

/** Of an inline picture. */
function bytesOf(url: string): Buffer {
  const [head = "", data = ""] = url.split(",");
  expect(head).toMatch(/^data:image\/(png|jpeg|webp);base64$/);
  return Buffer.from(data, "base64");
}

const grey = (...levels: number[]): number[] => levels.flatMap((level) => [level, level, level]);

describe("a PNG of a PIL image", () => {
  it("has the very pixels of every mode", async () => {
    const { save } = await pictures();
    const exact: Record<string, number[]> = {
      L: grey(0, 1, 128, 255),
      RGB: [255, 0, 0, 0, 254, 0, 0, 0, 253, 1, 2, 3],
      RGBA: [255, 0, 0, 255, 0, 255, 0, 128, 0, 0, 255, 1, 9, 8, 7, 255],
      LA: [10, 10, 10, 255, 20, 20, 20, 128, 30, 30, 30, 1, 40, 40, 40, 255],
      P: [10, 20, 30, 40, 50, 60, 250, 0, 0, 0, 250, 0],
      "1": grey(0, 255, 255, 0),
      // The upper byte of sixteen bits.
      "I;16": grey(0, 1, 128, 255),
    };
    for (const [name, values] of Object.entries(exact)) {
      const saved = await save({ name, inline: true });
      const { channels, values: read } = await pixelsOf(bytesOf(saved.url));
      const shown = channels === 1 ? grey(...read) : read;
      expect([name, shown]).toEqual([name, values]);
      expect(saved).toMatchObject({ width: 2, height: 2, content_type: "image/png", file_name: "image.png" });
      expect(saved.file_size).toBe(bytesOf(saved.url).length);
    }
  });
});

describe("the file", () => {
  it("lies where the request's store puts it, under a name with the right ending", async () => {
    const { save } = await pictures();
    for (const [format, ending] of [
      ["png", "png"],
      ["jpeg", "jpg"],
      ["webp", "webp"],
    ]) {
      const saved = await save({ name: "large", format });
      expect(saved.file_name).toMatch(new RegExp(`^pictures-[0-9a-f]{6}\\.${ending}$`));
      const bytes = await readFile(fileURLToPath(saved.url));
      expect(await sharp(bytes).metadata()).toMatchObject({ format, width: 640, height: 480 });
      expect(saved).toMatchObject({
        width: 640,
        height: 480,
        content_type: `image/${format}`,
        file_size: bytes.length,
      });
    }
  });

  it("is near the picture where the format loses some of it, the nearer the higher its quality", async () => {
    const { save } = await pictures();
    for (const format of ["jpeg", "webp"]) {
      const { values } = await pixelsOf(bytesOf((await save({ name: "large", format, inline: true })).url));
      const [red = 0, green = 0, blue = 0] = values;
      for (const [value, meant] of [
        [red, 200],
        [green, 30],
        [blue, 30],
      ] as const)
        expect(Math.abs(value - meant)).toBeLessThan(6);
      const small = await save({ name: "RGBA", format, quality: 1, inline: true });
      const fine = await save({ name: "RGBA", format, quality: 100, inline: true });
      expect(small.file_size).toBeLessThan(fine.file_size);
    }
  });

  it("has one name for the same picture, and is made of an expression as well as of a settled handle", async () => {
    const { host, save } = await pictures();
    const [first, second, third] = [await save({ name: "L" }), await save({ name: "L" }), await save({ name: "RGB" })];
    expect(second).toEqual(first);
    expect(third.url).not.toBe(first.url);
    expect(await output(host.submit("/expression", {}))).toEqual(first);
  });
});

describe("what is no picture", () => {
  it("is refused with what was expected and what came", async () => {
    const { host } = await pictures();
    const refused = async (what: string) => ending(host.submit("/refused", { what }));
    expect(await refused("undefined")).toMatchObject({
      error: {
        code: "NOT_SENDABLE",
        message: expect.stringContaining("got undefined: the list of pictures was empty"),
      },
    });
    expect(await refused("dict")).toMatchObject({
      error: { message: expect.stringContaining("expected a PIL image, got builtins.dict") },
    });
    expect(await refused("text")).toMatchObject({
      error: { code: "NOT_SENDABLE", message: expect.stringContaining("expected a PIL image, got a string") },
    });
  });

  it("is a picture of no size as well", async () => {
    const { host } = await pictures();
    expect(await ending(host.submit("/", { name: "empty" }))).toMatchObject({
      error: { code: "NOT_SENDABLE", message: expect.stringContaining("0 x 3") },
    });
  });
});
