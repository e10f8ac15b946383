"use strict";

// One WebSocket at a time, told what to do in plain data: the same agent in Node and in a browser.
// Messages are strings, or {base64} for binary ones; {closed: [code, reason, wasClean]} is the end.

globalThis.makeAgent = (makeSocket) => {
  let socket = null;
  let queue = null;

  return {
    open(url, terms) {
      socket = makeSocket(url, terms);
      const { put } = (queue = makeQueue());
      socket.binaryType = "arraybuffer";
      return new Promise((resolve) => {
        socket.onopen = () => resolve({ subprotocol: socket.protocol });
        socket.onmessage = ({ data }) => put(pack(data));
        // Nothing but an error is sure to come of a refusal: Node 20 sends no close event.
        socket.onerror = ({ message }) => resolve({ refused: message || "" });
        socket.onclose = ({ code, reason, wasClean }) => put({ closed: [code, reason, wasClean] });
      });
    },

    send(item) {
      socket.send(unpack(item));
    },

    // What follows is for sockets of the package `ws` alone: browsers can do neither.
    sendPieces(items) {
      items.forEach((item, index) => socket.send(unpack(item), { fin: index === items.length - 1 }));
    },

    ping(payload) {
      return new Promise((resolve) => {
        socket.once("pong", (data) => resolve(data.toString()));
        socket.ping(payload);
      });
    },

    receive() {
      return queue.take();
    },

    close(...how) {
      socket.close(...how);
    },

    drop() {
      if (socket.terminate) socket.terminate();
      else socket.close();
    },
  };

  // Of each connection its own: what a former one is late with concerns nobody.
  function makeQueue() {
    const arrived = [];
    const takers = [];
    return {
      put: (item) => (takers.length ? takers.shift()(item) : arrived.push(item)),
      take: () => (arrived.length ? arrived.shift() : new Promise((resolve) => takers.push(resolve))),
    };
  }

  function pack(data) {
    if (typeof data === "string") return data;
    const bytes = new Uint8Array(data);
    let binary = "";
    for (let start = 0; start < bytes.length; start += 8192) {
      binary += String.fromCharCode(...bytes.subarray(start, start + 8192));
    }
    return { base64: btoa(binary) };
  }

  function unpack(item) {
    if (typeof item === "string") return item;
    return Uint8Array.from(atob(item.base64), (character) => character.charCodeAt(0));
  }
};
