// engine.io's polling transport, set up for its best: no upgrades, no compression, no heartbeat within a run.
//
// POST /send gives its body to every session and answers 201; the rest is engine.io's own. With the argument
// `newcomers`, a new session gets the last message along with its handshake.
"use strict";

const http = require("node:http");
const { Server } = require("engine.io");

// Longer than any run (ms).
const NEVER_MS = 3_600_000;

const welcomes = process.argv.includes("newcomers");
const engine = new Server({
  transports: ["polling"],
  allowUpgrades: false,
  httpCompression: false,
  perMessageDeflate: false,
  pingInterval: NEVER_MS,
  pingTimeout: NEVER_MS,
});

const server = http.createServer((request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    const text = Buffer.concat(pieces).toString();
    if (welcomes) engine.opts.initialPacket = text;
    for (const session of Object.values(engine.clients)) session.send(text);
    response.writeHead(201, { "Content-Length": 0 });
    response.end();
  });
});
server.keepAliveTimeout = 0;
server.headersTimeout = 0;
server.requestTimeout = 0;
engine.attach(server, { path: "/engine.io/" });
server.listen({ host: "127.0.0.1", port: 0, backlog: 16384 }, () => {
  const { address, port } = server.address();
  console.log(JSON.stringify({ message: "listening", listen: `${address}:${port}` }));
});
process.on("SIGTERM", () => process.exit(0));
