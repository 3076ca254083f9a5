// The door for WebSockets: who may upgrade, how many, and whether they still live.
// Knows no message: connection.ts speaks with one peer.
import { type IncomingMessage, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { limits } from "../config.ts";
import type { ErrorCode } from "../errors.ts";
import type { Logger } from "../log.ts";
import { Connection, type ConnectionOptions } from "./connection.ts";
import { type Refusal, type RequestHead, refusalResponse, type Verdict } from "./guard.ts";

export interface SocketOptions extends ConnectionOptions {
  readonly verdict: (head: RequestHead) => Verdict;
  readonly logger: Logger;
}

export interface Sockets {
  upgrade(incoming: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Closes each connection once its runs have ended. */
  drain(): void;
  /** Closes what is left, whatever runs on it; a peer that does not answer is cut off after `limits.socketCloseTimeoutMs`. */
  close(): void;
}

const SOCKET_PATH = "/ws";

/** Compression stays off: it costs memory on each socket, and a small frame can unpack to a large one. */
const serverOptions = {
  noServer: true,
  perMessageDeflate: false,
  maxPayload: limits.socketFrameBytes,
  maxFragments: limits.socketFragments,
  closeTimeout: limits.socketCloseTimeoutMs,
};

export function createSockets(options: SocketOptions): Sockets {
  const connections = new Set<Connection>();
  const server = new WebSocketServer(serverOptions);
  const pings = setInterval(() => {
    for (const connection of connections) connection.ping();
  }, limits.socketPingMs).unref();

  const upgrade: Sockets["upgrade"] = (incoming, socket, head) => {
    // Without a listener a peer that resets the connection would end this process.
    socket.on("error", (error) => options.logger.debug(`a connection broke: ${error.message}`));
    const refused = refusalOf(incoming, server.clients.size, options.verdict);
    if (refused !== undefined) return void answer(socket, refusalResponse(refused));
    server.handleUpgrade(incoming, socket, head, (peer) => {
      const connection = new Connection(peer, options);
      connections.add(connection);
      peer.on("error", (error) => options.logger.debug(`a socket was closed: ${error.message}`));
      peer.on("close", () => connections.delete(connection));
    });
  };
  const drain = (): void => {
    for (const connection of connections) connection.drain();
  };
  const close = (): void => {
    clearInterval(pings);
    for (const peer of server.clients) peer.close(1001, "the server is closing");
  };
  return { upgrade, drain, close };
}

/** Undefined for a peer that may connect. */
function refusalOf(incoming: IncomingMessage, open: number, verdict: SocketOptions["verdict"]): Refusal | undefined {
  const head = headOf(incoming);
  if (head === undefined)
    return refusal("BAD_REQUEST", `the head of this request cannot be read; connect to ws://<host>${SOCKET_PATH}`);
  const decided = verdict(head);
  if (!decided.allowed) return decided;
  if (head.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    return refusal(
      "BAD_REQUEST",
      `only websocket is upgraded to, at ${SOCKET_PATH}; for HTTP/1.1 leave out the header Upgrade`,
    );
  }
  if (new URL(head.url).pathname !== SOCKET_PATH) return refusal("NOT_FOUND", `the only socket here is ${SOCKET_PATH}`);
  if (open >= limits.socketsMax)
    return refusal("QUEUE_FULL", `${limits.socketsMax} sockets are open, no more may be; try again later`);
  return undefined;
}

function refusal(code: ErrorCode, message: string): Refusal {
  return { allowed: false, code, message };
}

/** From the raw headers: node's own view drops a second Host or Origin, which the guard must see. */
function headOf({ rawHeaders, url = "", method = "" }: IncomingMessage): RequestHead | undefined {
  const headers = new Headers();
  try {
    for (let index = 0; index < rawHeaders.length; index += 2)
      headers.append(rawHeaders[index] ?? "", rawHeaders[index + 1] ?? "");
    return url.startsWith("/")
      ? { method, headers, url: new URL(`http://${headers.get("host")}${url}`).href }
      : undefined;
  } catch {
    return undefined;
  }
}

async function answer(socket: Duplex, response: Response): Promise<void> {
  const body = await response.text();
  const headers = [...response.headers, ["connection", "close"], ["content-length", String(Buffer.byteLength(body))]];
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  socket.end(`HTTP/1.1 ${response.status} ${STATUS_CODES[response.status] ?? "Refused"}\r\n${lines}\r\n${body}`);
}
