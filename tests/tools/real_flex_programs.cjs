// Runs a program (see flex_programs.py, its twin in Python) on the real dispatcher and answers what happened.
const { AsyncLocalStorage } = require("node:async_hooks");

const LIMIT = 60; // calls of functions in a program, and how deep invocations nest, are limited as in the twin
const DEPTH = 12;
const depth = new AsyncLocalStorage();

class Run {
  constructor(Actions, program) {
    this.actions = new Actions();
    this.program = program;
    this.log = [];
    this.shared = program.shared.map((fields) => this.object(fields));
    this.functions = program.functions.map((written) => this.callable(written));
    this.timers = []; // [time, number, resolve]
    this.settlers = []; // [number, resolve]: who waits until all else stands still
    this.now = 0;
    this.numbers = 0;
    this.spawns = 0;
    this.calls = 0;
    this.late = null;
  }

  // -- values --

  object(fields) {
    return Object.fromEntries(Object.entries(fields));
  }

  payload([kind, value], own) {
    if (kind === "none") return undefined;
    if (kind === "own") return own;
    if (kind === "new") return this.object(value);
    if (kind === "shared") return this.shared[value % this.shared.length];
    return value; // "is"
  }

  view(value) {
    if (value === undefined || value === null) return null;
    if (typeof value !== "object") return [typeof value, value];
    const number = this.shared.indexOf(value);
    const fields = Object.keys(value).sort().map((key) => [key, this.view(value[key])]);
    return ["object", number < 0 ? null : number, fields];
  }

  failure(error) {
    if (error && error.content) return ["action", error.message, error.content.description ?? null];
    if (error instanceof TypeError) return ["foreign"]; // what the machine itself says of a wrong type
    return ["plain", error instanceof Error ? error.message : error, null];
  }

  // -- functions --

  callable(written) {
    const run = this;
    if (written.async) {
      return async function (...args) {
        if (!run.entered(written, args)) return undefined;
        const frame = { written, args, got: undefined };
        for (const step of written.steps) {
          if (step[0] === "turns") {
            // In line: an async helper would take turns of its own.
            for (let i = 0; i < step[1]; i++) await null;
            run.log.push(["went on", written.name]);
          } else {
            const waiting = run.step(step, frame);
            if (waiting) await waiting;
          }
        }
        return run.end(written.end, frame);
      };
    }
    return function (...args) {
      if (!run.entered(written, args)) return undefined;
      const frame = { written, args, got: undefined };
      for (const step of written.steps) {
        const waiting = run.step(step, frame);
        if (waiting) throw new Error("a plain function cannot wait");
      }
      return run.end(written.end, frame);
    };
  }

  entered({ name, role }, args) {
    if (++this.calls > LIMIT) return false;
    const seen = role === "event" ? [0, 1, 2].map((i) => this.view(args[i])) : this.view(args[0]);
    this.log.push(["call", name, seen]);
    if (role === "before") this.late = args[1];
    return true;
  }

  end([kind, value], frame) {
    this.log.push(["end", frame.written.name]);
    if (kind === "throw") throw new Error(value);
    if (kind === "throw text") throw value;
    if (kind === "got") return frame.got;
    if (kind === "promise") return this.nested(value[0], this.payload(value[1], frame.args[0]));
    if (kind === "original") return frame.args[1](...this.other(value, frame));
    return this.payload([kind, value], frame.args[0]);
  }

  other(payload, frame) {
    return payload ? [this.payload(payload, frame.args[0])] : [];
  }

  // -- steps: what is returned is to be awaited --

  step([kind, ...facts], frame) {
    const own = frame.args[0];
    const payload = (spec) => this.payload(spec, own);
    switch (kind) {
      case "wait":
        return new Promise((resolve) => this.timers.push([this.now + facts[0], this.numbers++, resolve]));
      case "set":
        if (own !== null && typeof own === "object") own[facts[0]] = facts[1];
        return undefined;
      case "abort":
        return void frame.args[1](...facts);
      case "late abort":
        return void (this.late && this.late());
      case "invoke":
        return this.heard(() => this.nested(facts[0], payload(facts[1])), facts[2], frame);
      case "spawn":
        return this.spawned(() => this.nested(facts[0], payload(facts[1])));
      case "original":
      case "next": {
        const call = () => frame.args[kind === "next" ? 2 : 1](...this.other(facts[0], frame));
        return facts[1] === "drop" ? this.spawned(call) : this.heard(call, facts[1], frame);
      }
      default:
        return this.act(kind, facts, own);
    }
  }

  async heard(call, how, frame) {
    try {
      frame.got = await call();
      this.log.push(["got", frame.written.name, this.view(frame.got)]);
    } catch (error) {
      this.log.push(["caught", frame.written.name, this.failure(error)]);
      if (how === "raise") throw error;
    }
  }

  async spawned(call) {
    const number = this.spawns++;
    const promise = call();
    if (promise && promise.catch) promise.catch(() => {});
    await new Promise((resolve) => this.settlers.push([number, resolve]));
  }

  async nested(name, payload) {
    const deeper = (depth.getStore() ?? 1) + 1;
    if (deeper > DEPTH) return "too deep";
    return await depth.run(deeper, () => this.actions.invokeAction(name, payload));
  }

  // -- what a step can do, and the program itself --

  act(kind, facts, own) {
    const { actions } = this;
    const pay = (spec) => (spec[0] === "where" ? where(spec) : this.payload(spec, own));
    const f = (number) => this.functions[number];
    switch (kind) {
      case "register":
        return void actions.registerAction(facts[0], f(facts[1]), facts[2] === null ? undefined : f(facts[2]));
      case "replace":
        return void actions.replaceAction(facts[0], f(facts[1]));
      case "listen":
        return void actions.addListener(facts[0], f(facts[1]));
      case "unlisten":
        return void actions.removeListener(facts[0], f(facts[1]));
      case "unlisten all":
        return void actions.removeAllListeners(facts[0] ?? undefined);
      case "block":
        return void actions.blockAction(facts[0], pay(facts[1]));
      case "unblock":
        return void actions.unblockAction(facts[0], pay(facts[1]));
      case "pending":
        return void this.found(kind, actions.findPendingActions(facts[0], pay(facts[1])));
      case "blocked":
        return void this.found(kind, actions.findBlockedActions(facts[0], pay(facts[1])));
    }
    throw new Error(`no step ${kind}`);
  }

  found(kind, { first, ...payloads }) {
    const seen = Object.entries(payloads).map(([name, payload]) => [name, this.view(payload)]);
    this.log.push([kind, seen, first ? first.action : null]);
  }

  async main() {
    let number = 0;
    for (const [kind, ...facts] of this.program.ops) {
      if (kind === "invoke") this.invoke(number++, facts[0], this.payload(facts[1]));
      else if (kind === "tick") this.tick();
      else {
        try {
          this.act(kind, facts, undefined);
        } catch (error) {
          this.log.push(["refused", kind, this.failure(error)]);
        }
      }
      await this.quiet();
    }
    while (this.timers.length) {
      this.tick();
      await this.quiet();
    }
    this.act("pending", [this.program.names, ["none"]]);
    this.act("blocked", [this.program.names, ["none"]]);
  }

  invoke(number, name, payload) {
    this.actions.invokeAction(name, payload).then(
      (value) => this.log.push(["result", number, this.view(value)]),
      (error) => this.log.push(["error", number, this.failure(error)]),
    );
  }

  tick() {
    if (!this.timers.length) return;
    this.timers.sort((one, other) => one[0] - other[0] || one[1] - other[1]);
    const [time, , resolve] = this.timers.shift();
    this.now = time;
    resolve();
  }

  // Until nothing moves any more; then who waits for that goes on, the latest begun first.
  async quiet() {
    for (;;) {
      await new Promise(setImmediate);
      if (!this.settlers.length) return;
      this.settlers.sort((one, other) => one[0] - other[0]);
      this.settlers.pop()[1]();
    }
  }
}

const where = ([, key, value]) => (stored) => stored !== null && typeof stored === "object" && stored[key] === value;

// The lines that the dispatcher writes for listeners that failed, as [event, message].
function reports(errors) {
  const found = [];
  for (const [text, error] of errors) {
    const plain = /^Error on (\S+):$/.exec(text);
    const before = /: Error on "(\S+)":(?:\n\nOriginal error:\n"([^]*)")?$/.exec(text);
    if (plain) found.push([plain[1], error instanceof Error ? error.message : error]);
    else if (before) found.push([before[1], before[2] ?? ""]);
  }
  return found;
}

exports.runProgram = async (Actions, errors, program) => {
  errors.length = 0;
  const run = new Run(Actions, program);
  await run.main();
  return { log: run.log, reports: reports(errors) };
};
