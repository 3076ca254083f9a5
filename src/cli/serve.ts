// `flambeau serve app.ts`: listens at once, starts Python, and drains when it is asked to stop.
// Requests are logged by the host through the logger; this file says where to send them.
import type { AppClass } from "../app/app.ts";
import type { AppDescription, EndpointDescription } from "../app/description.ts";
import type { Settings } from "../config.ts";
import type { Logger } from "../log.ts";
import { fieldsOf } from "./fields.ts";
import type { CreateHost } from "./run.ts";
import { quoted, sampleInput } from "./sample-input.ts";
import { secondsText } from "./words.ts";

export interface ServeParts {
  readonly createHost: CreateHost;
  readonly settings: Settings;
  readonly logger: Logger;
  readonly print: (text: string) => void;
}

export interface ServeRequest {
  readonly app: AppClass;
  readonly description: AppDescription;
  /** The file that the class came from, absolute. */
  readonly file: string;
}

/**
 * Serves until the signal fires, then finishes what runs and ends. Requests are accepted while Python still starts.
 * @throws FlambeauError of every code of a start; SETTINGS_INVALID for an address that cannot be listened on
 */
export async function serve(
  request: ServeRequest,
  parts: ServeParts,
  { signal }: { signal: AbortSignal },
): Promise<void> {
  const { logger, print } = parts;
  // A server lives long enough for compiled packages to pay back; they are built in the background.
  const environment = { FLAMBEAU_OPTIMIZE_BUILDS: "background", ...parts.settings.environment };
  const settings = { ...parts.settings, environment };
  await using host = parts.createHost(request.app, { settings, logger, file: request.file });
  const url = await host.listen({ port: settings.port, host: settings.host });
  print(banner(request.description, url.replace(/\/+$/, ""), settings.key !== undefined));
  try {
    await host.start({ signal });
  } catch (thrown) {
    if (signal.aborted) return;
    throw thrown;
  }
  const phases = host.timings.map(({ phase, seconds }) => `${phase} ${secondsText(seconds)}`);
  logger.info(["ready", ...phases].join(" · "));
  await fired(signal);
}

function fired(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** Where to send what, with a request to copy for each endpoint. */
export function banner(description: AppDescription, url: string, needsKey: boolean): string {
  const endpoints = description.endpoints.flatMap((endpoint) => ["", ...endpointLines(endpoint, url, needsKey)]);
  return [
    `${description.name} at ${url}`,
    "Requests are accepted now and wait until the worker is ready. Ctrl-C finishes what runs and stops.",
    ...endpoints,
    "",
    `  websocket  ${url.replace(/^http/, "ws")}/ws`,
    `  openapi    ${url}/openapi.json`,
    `  health     ${url}/health/ready`,
  ].join("\n");
}

function endpointLines(endpoint: EndpointDescription, url: string, needsKey: boolean): string[] {
  const address = `${url}${endpoint.path}`;
  const body = JSON.stringify(sampleInput(fieldsOf(endpoint.input, new Set())));
  const key = needsKey ? ' -H "authorization: Key $FLAMBEAU_KEY"' : "";
  return [
    `  ${endpoint.name}${endpoint.mode === "stream" ? " (stream)" : ""}   POST ${address}`,
    `    curl ${address} -H 'content-type: application/json'${key} -d ${quoted(body)}`,
  ];
}
