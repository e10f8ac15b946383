"use strict";

// The same for the package `ws` of Node: `node foreign_app.js FOLDER PORT`, `ws` is below FOLDER.

const { createRequire } = require("node:module");
const { createServer } = require("node:http");

const [folder, port] = process.argv.slice(2);
const { WebSocketServer } = createRequire(`${folder}/`)("ws");

const sockets = new WebSocketServer({
  noServer: true,
  perMessageDeflate: true,
  maxPayload: 2 ** 23,
  handleProtocols: (offered) => (offered.has("b") ? "b" : false),
});
const server = createServer();

server.on("upgrade", (request, socket, head) => {
  if (request.url !== "/echo" && request.url !== "/leave") {
    socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    return;
  }
  sockets.handleUpgrade(request, socket, head, (connection) => {
    if (request.url === "/leave") {
      connection.close(4001, "bye");
    }
    connection.on("message", (data, isBinary) => connection.send(data, { binary: isBinary }));
  });
});
server.listen(Number(port), "127.0.0.1");
