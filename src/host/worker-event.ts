// What Python tells beside results, checked: progress, logs, notices.
import { z } from "zod";

const WorkerEvent = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("progress"),
    step: z.number(),
    total: z
      .number()
      .nullish()
      .transform((total) => total ?? null),
    stage: z
      .string()
      .nullish()
      .transform((stage) => stage ?? null),
  }),
  z.object({ kind: z.literal("log"), message: z.string() }),
  z.object({ kind: z.literal("notice"), message: z.string() }),
]);
export type WorkerEvent = z.output<typeof WorkerEvent>;

export function parseWorkerEvent(event: unknown): WorkerEvent | undefined {
  const parsed = WorkerEvent.safeParse(event);
  return parsed.success ? parsed.data : undefined;
}
