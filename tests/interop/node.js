"use strict";

// The agent in Node: a line of JSON is a call, `[method, ...arguments]`, and a line its result.
// `node node.js FOLDER` uses the package `ws` below FOLDER, without one Node's own WebSocket.

const { createRequire } = require("node:module");
const { createInterface } = require("node:readline");
require("./agent.js");

const [folder] = process.argv.slice(2);
const agent = globalThis.makeAgent(folder ? makeSocketOf(createRequire(`${folder}/`)("ws")) : makeOwnSocket);

function makeSocketOf(WebSocket) {
  return (url, { subprotocols, headers, origin, deflate, ca }) =>
    new WebSocket(url, subprotocols, { headers, origin, perMessageDeflate: deflate, ca });
}

function makeOwnSocket(url, { subprotocols, headers }) {
  return new WebSocket(url, { protocols: subprotocols, headers });
}

async function main() {
  for await (const line of createInterface({ input: process.stdin })) {
    const [method, ...values] = JSON.parse(line);
    let answer;
    try {
      answer = { result: await agent[method](...values) };
    } catch (error) {
      answer = { raised: String(error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  process.exit();
}

main();
