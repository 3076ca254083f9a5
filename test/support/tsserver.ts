// The language server that editors run, asked as they ask it: one process, requests over stdin, answers over stdout.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { z } from "zod";

const SERVER = fileURLToPath(new URL("../../node_modules/typescript/lib/tsserver.js", import.meta.url));

const Answer = z.object({
  type: z.string(),
  request_seq: z.int().optional(),
  success: z.boolean().optional(),
  body: z.unknown().optional(),
});
const Completions = z.object({ entries: z.array(z.object({ name: z.string() })) });
const Diagnostics = z.array(z.object({ text: z.string() }));
const QuickInfo = z.object({ displayString: z.string(), documentation: z.unknown() });

export class TypeScriptServer implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, (answer: z.output<typeof Answer>) => void>();
  #sequence = 0;
  #rest = "";

  constructor(cwd: string) {
    this.#process = spawn(process.execPath, [SERVER, "--disableAutomaticTypingAcquisition"], {
      cwd,
      stdio: ["pipe", "pipe", "ignore"],
    });
    this.#process.stdout?.setEncoding("utf8").on("data", (chunk: string) => this.#read(chunk));
  }

  open(file: string, content: string): void {
    this.#send("open", { file, fileContent: content });
  }

  /** What an editor offers at the place marked in the text; the mark itself is not part of the file. */
  async completions(file: string, marked: string, mark = "‸"): Promise<readonly string[]> {
    const answer = await this.#at("completionInfo", file, marked, mark);
    return Completions.parse(answer.body).entries.map(({ name }) => name);
  }

  /** Type and documentation of the name that stands right after the mark. */
  async hover(file: string, marked: string, mark = "‸"): Promise<string> {
    const { displayString, documentation } = QuickInfo.parse((await this.#at("quickinfo", file, marked, mark)).body);
    return `${displayString}\n${JSON.stringify(documentation)}`;
  }

  async errors(file: string): Promise<readonly string[]> {
    return Diagnostics.parse((await this.#ask("semanticDiagnosticsSync", { file })).body).map(({ text }) => text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#process, "exit");
    this.#process.kill();
    await ended;
  }

  async #at(command: string, file: string, marked: string, mark: string): Promise<z.output<typeof Answer>> {
    const before = marked.slice(0, marked.indexOf(mark)).split("\n");
    this.open(file, marked.replace(mark, ""));
    return this.#ask(command, { file, line: before.length, offset: (before.at(-1) ?? "").length + 1 });
  }

  #send(command: string, given: object): number {
    const seq = ++this.#sequence;
    this.#process.stdin?.write(`${JSON.stringify({ seq, type: "request", command, arguments: given })}\n`);
    return seq;
  }

  #ask(command: string, given: object): Promise<z.output<typeof Answer>> {
    return new Promise((resolve, reject) => {
      this.#process.once("exit", () => reject(new Error(`tsserver ended before it answered ${command}`)));
      this.#waiting.set(this.#send(command, given), resolve);
    });
  }

  #read(chunk: string): void {
    const lines = (this.#rest + chunk).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      if (!line.startsWith("{")) continue;
      const answer = Answer.parse(JSON.parse(line));
      const waiting = answer.request_seq === undefined ? undefined : this.#waiting.get(answer.request_seq);
      if (answer.type === "response" && waiting !== undefined) waiting(answer);
    }
  }
}
