"use strict";
// Readers and a writer of one JSON stream, as a page of another origin has them. The address of the page says what to do
// (`plan`); what happens goes to the server of the page.

const plan = JSON.parse(new URL(location.href).searchParams.get("plan"));
const report = (what) => fetch("/report", { method: "POST", body: JSON.stringify(what) });
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** The address of a read; plan.query holds what else belongs there, such as a token. */
function address(parameters) {
  const url = new URL(plan.stream);
  for (const [name, value] of Object.entries({ ...plan.query, ...parameters })) url.searchParams.set(name, value);
  url.searchParams.sort();
  return url;
}

/** What one reader has, up to the offset that it would go on from. */
class Reader {
  constructor(name) {
    Object.assign(this, { name, messages: [], offset: "-1", interruptions: 0, reopened: 0, waiting: [] });
  }

  take(messages, offset) {
    const before = this.messages.length;
    this.messages.push(...messages);
    this.offset = offset;
    this.waiting = this.waiting.filter(({ count, done }) => this.messages.length < count || done());
    if (Math.floor(before / plan.step) < Math.floor(this.messages.length / plan.step)) {
      report({ progress: { [this.name]: this.messages.length } });
    }
  }

  has(count) {
    if (this.messages.length >= count) return Promise.resolve();
    return new Promise((done) => this.waiting.push({ count, done }));
  }
}

/** Reads events. The browser comes back by itself; where it gives up, the page goes on from its own offset. */
function followEvents(reader, opened) {
  return new Promise((done) => {
    let pending = []; // data whose control event has not come: the offset is still before it
    const open = () => {
      const url = address({ offset: reader.offset, live: "sse" });
      const source = new EventSource(url, { withCredentials: plan.credentials });
      source.onopen = opened;
      source.addEventListener("data", (event) => pending.push(...JSON.parse(event.data)));
      source.addEventListener("control", (event) => {
        const control = JSON.parse(event.data);
        reader.take(pending, control.streamNextOffset);
        pending = [];
        if (control.streamClosed) {
          source.close();
          done();
        }
      });
      source.onerror = () => {
        pending = [];
        reader.interruptions += 1;
        if (source.readyState !== EventSource.CLOSED) return;
        reader.reopened += 1;
        setTimeout(open, 50);
      };
    };
    open();
  });
}

/** Catches up, then polls. */
async function followPolls(reader) {
  let [live, closed, cursor] = [false, false, null];
  while (!closed) {
    try {
      const parameters = { offset: reader.offset, ...(live && { live: "long-poll" }), ...(cursor && { cursor }) };
      const answer = await fetch(address(parameters), { credentials: plan.credentials ? "include" : "omit" });
      if (!answer.ok) throw new Error(`a read answered ${answer.status}`);
      const messages = answer.status === 204 ? [] : await answer.json();
      reader.take(messages, answer.headers.get("Stream-Next-Offset"));
      cursor = answer.headers.get("Stream-Cursor");
      live = answer.headers.get("Stream-Up-To-Date") === "true";
      closed = answer.headers.get("Stream-Closed") === "true";
    } catch (failure) {
      reader.interruptions += 1;
      await pause(50);
    }
  }
}

/** Sends until it is acknowledged; the producer's headers make that safe. Returns how often it took more than one attempt. */
async function send(method, headers, body, good) {
  for (let attempt = 0; ; attempt += 1) {
    let status;
    try {
      status = (await fetch(plan.stream, { method, headers: { ...plan.headers, ...headers }, body })).status;
    } catch (failure) {
      status = 503;
    }
    if (good.includes(status)) return attempt;
    if (status !== 503) throw new Error(`${method} answered ${status}`);
    await pause(50);
  }
}

async function write(readers) {
  let retries = 0;
  for (let number = 0; number < plan.count; number += 1) {
    // In the middle all come together again, so that they read live in both halves.
    if (number === plan.count / 2) await Promise.all(readers.map((reader) => reader.has(number)));
    const last = number === plan.count - 1 ? { "stream-closed": "true" } : {};
    const producer = { "producer-id": "page", "producer-epoch": "0", "producer-seq": String(number), ...last };
    const body = JSON.stringify({ number, text: "ä€😀 \n" });
    retries += await send("POST", { "content-type": "application/json", ...producer }, body, [200, 204]);
  }
  return retries;
}

/** An event source that the server refuses: resolves when the browser has given up. */
const refusal = () =>
  new Promise((done) => {
    const source = new EventSource(plan.stream + "?offset=-1&live=sse");
    source.onopen = () => done(false);
    source.onerror = () => source.readyState === EventSource.CLOSED && done(true);
  });

/** Event sources whose streams end again and again: resolves with the one that comes back first. */
const race = (streams) =>
  new Promise((done) => {
    for (const stream of streams) {
      let opened = 0;
      const source = new EventSource(stream + "?offset=now&live=sse");
      source.onopen = () => (opened += 1) === 2 && done(stream);
    }
  });

async function main() {
  if (plan.race) return report({ done: await race(plan.race) });
  await send("PUT", { "content-type": "application/json" }, undefined, [201, 200]);
  const refused = plan.refusal ? await refusal() : null;
  const sources = Array.from({ length: plan.sources }, (_, index) => new Reader(`events ${index}`));
  const poller = new Reader("polls");
  const work = sources.map((reader) => new Promise((opened) => {
    reader.end = followEvents(reader, opened);
  }));
  await Promise.all(work); // all event sources are open at the same time
  await report({ open: plan.sources });
  const ends = [...sources.map((reader) => reader.end), followPolls(poller)];
  const retries = await write([...sources, poller]);
  await Promise.all(ends);
  const readers = [...sources, poller].map(({ name, messages, offset, interruptions, reopened }) => {
    return { name, messages: messages.map(({ number }) => number), offset, interruptions, reopened };
  });
  await report({ done: { readers, retries, refused } });
}

window.onerror = (text) => report({ failed: String(text) });
main().catch((failure) => report({ failed: String(failure) }));
