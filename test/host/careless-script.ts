// A script that starts Python, prints with it and forgets about it.
import { startPython } from "../../src/host/start-python.ts";

const py = await startPython({ python: process.argv[2] ?? "python3" });
await py.import("builtins").print("hello from Python");
