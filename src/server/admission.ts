// From "this endpoint, this input" to a request in the queue: the one step that HTTP and WebSocket share.
// Knows neither of them.
import type { AppDescription, EndpointDescription } from "../app/description.ts";
import { parseInput } from "../app/parse-input.ts";
import { FlambeauError } from "../errors.ts";
import type { QueueEngine } from "../queue/engine.ts";

export interface Admission {
  readonly app: AppDescription;
  readonly queue: QueueEngine;
  readonly newId: () => string;
}

/** Names at most this many endpoints in a message. */
const endpointsNamed = 20;

/**
 * Checks the input and queues the request under the endpoint's name; returns its id.
 * @throws FlambeauError INPUT_INVALID, QUEUE_FULL
 */
export function admit({ queue, newId }: Admission, endpoint: EndpointDescription, input: unknown): string {
  const parsed = parseInput(endpoint.input, input);
  const id = newId();
  queue.submit({ id, endpoint: endpoint.name, input: parsed });
  return id;
}

/**
 * @param name a path (`/`) or the name of the class field (`textToImage`)
 * @throws FlambeauError NOT_FOUND, naming the endpoints that there are
 */
export function findEndpoint(app: AppDescription, name: string): EndpointDescription {
  const found = app.endpoints.find((endpoint) => endpoint.path === name || endpoint.name === name);
  if (found !== undefined) return found;
  throw new FlambeauError("NOT_FOUND", `no endpoint ${name.slice(0, 100)}; ${namesOf(app)}`);
}

export function namesOf({ name, endpoints }: AppDescription): string {
  if (endpoints.length === 0) return `${name} has no endpoints`;
  const named = endpoints.slice(0, endpointsNamed).map((endpoint) => `${endpoint.path} (${endpoint.name})`);
  return `${name} has ${named.join(", ")}${endpoints.length > endpointsNamed ? ", …" : ""}`;
}
