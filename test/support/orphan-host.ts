// A host of its own for orphans.test.ts: starts a worker, brings it into the state that is asked for, says so, and waits for its end.
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "../../src/workers/worker.ts";
import { testEnvironment } from "./worker.ts";

const [state = "", python = ""] = process.argv.slice(2);
const worker = await Worker.start({ python, environment: testEnvironment(), onUnseen: () => {} });
const { py } = worker.session;
const time = py.import("time");
const pids = [worker.pid];

switch (state) {
  case "idle":
    await time.time();
    break;
  case "in a loop of Python":
    void py.expr`[None for _ in iter(int, 1)]`.catch(() => {});
    break;
  case "in time.sleep":
    void time.sleep(600).catch(() => {});
    break;
  case "holding the interpreter in C":
    void py.expr`sum(range(10**13))`.catch(() => {});
    break;
  case "with a child that runs on":
    pids.push(await py.import("subprocess").Popen(["sleep", "60"]).pid.$number());
    break;
  case "holding the interpreter beside children that it has forked and spawned": {
    const children = py.importFile(new URL("./subject.py", import.meta.url)).children_of_both_kinds();
    for await (const pid of children) pids.push(pid as unknown as number);
    void py.expr`sum(range(10**13))`.catch(() => {});
    break;
  }
  case "with something open":
    void time.sleep(0.7).then(() => console.log("answered"));
    break;
}
// The state has been reached when Python has begun; a ping is answered even while C holds the interpreter only before it does.
if (state.startsWith("in ")) while ((await worker.channel.ping()).running === null) await sleep(1);
if (state.startsWith("holding")) await sleep(300);
console.log(JSON.stringify(pids));
if (state === "that calls process.exit") process.exit(3);
if (state === "that throws") throw new Error("uncaught");
// Where nothing is pending, the host ends here by itself though its worker lives.
if (!state.startsWith("ends") && !state.startsWith("with something"))
  await new Promise(() => setInterval(() => {}, 1_000));
