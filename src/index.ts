// The first public door: what apps extend and hosts start. `import { App, endpoint } from "flambeau"`.

// Writing an app.
export { App, type AppClass, type Device, type MachineType } from "./app/app.ts";
export type { Context } from "./app/context.ts";
export type { AppDescription, EndpointDescription, EndpointMode } from "./app/description.ts";
export { type Endpoint, endpoint } from "./app/endpoint.ts";
export type { FileStore, StoredFile } from "./app/files.ts";
// Python, seen from TypeScript.
export type { PyDict, PyItems, PyList, PySet, PyTuple } from "./bridge/container-types.ts";
export type * from "./bridge/stub-types.ts";
// Running one: the host and what it reports.
export { readSettings, type Settings } from "./config.ts";
// What can go wrong.
export { type ErrorCode, FlambeauError, InputError, type InputIssue, PyError, PyOutOfMemoryError } from "./errors.ts";
export type { Host, PhaseTiming } from "./host/contract.ts";
export { createHost, type HostOptions } from "./host/host.ts";
export { type StartedPython, type StartPythonOptions, startPython } from "./host/start-python.ts";
export type { Logger, Wait } from "./log.ts";
export type { RequestEvent, RequestFailure } from "./queue/request.ts";
