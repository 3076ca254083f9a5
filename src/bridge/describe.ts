// A proxy in words, without asking Python: for errors, loggers and JSON.
import type { Recipe, Step } from "./values.ts";

const KEY_CHARACTERS = 40;

/** `diffusers.AutoPipeline.from_pretrained`, `<PIL.Image.Image>`, `…().images[0]`. */
export function describe(recipe: Recipe): string {
  switch (recipe.kind) {
    case "module":
      return recipe.name;
    case "file":
      return recipe.path.split("/").at(-1) ?? recipe.path;
    case "data":
      return "py value";
    case "ref":
      return `<${recipe.handle.type}>`;
    case "result":
      return recipe.call.path;
    case "path":
      return describe(recipe.base) + recipe.steps.map(step).join("");
  }
}

function step(step: Step): string {
  if (typeof step === "string") return `.${step}`;
  const { item } = step;
  const key = typeof item === "string" ? JSON.stringify(item) : typeof item === "number" ? String(item) : "…";
  return `[${key.length > KEY_CHARACTERS ? `${key.slice(0, KEY_CHARACTERS)}…` : key}]`;
}
