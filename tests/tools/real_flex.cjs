// Loads the dispatcher and the file rules out of one bundle of the real Flex, and answers questions about them:
//   node real_flex.cjs BUNDLE        one JSON object a line in, one a line out
// Nothing but the bundle is needed: its modules are taken out of it one by one, and the packages that they name are
// stand-ins, for what we ask runs none of their code. (Only Node's own `events` is real.)
const { readFileSync } = require("node:fs");
const { createInterface } = require("node:readline");
const { runInThisContext } = require("node:vm");
const { runProgram } = require("./real_flex_programs.cjs");
const { attachments } = require("./real_flex_attachments.cjs");

// Whatever is asked of it, it gives another of its kind.
function standIn(name) {
  const known = new Map();
  return new Proxy(function () {}, {
    get(target, key) {
      if (key === "prototype") return target.prototype;
      if (key === "__esModule") return true;
      if (key === Symbol.toPrimitive) return () => name;
      if (key === "then" || typeof key === "symbol") return undefined;
      if (!known.has(key)) known.set(key, standIn(`${name}.${String(key)}`));
      return known.get(key);
    },
    set(target, key, value) {
      known.set(key, value);
      return true;
    },
    apply: () => standIn(`${name}()`),
    construct: () => standIn(`new ${name}`),
  });
}

// The bundle's own table of modules and its loader, published instead of calling the entry: that would start a whole page.
function opened(path, provided) {
  let text = readFileSync(path, "utf8");
  const end = text.slice(-20000);
  const parts = /return (\w+)\[\w+\]\.call\(\w+\.exports,\w+,\w+\.exports,(\w+)\)/.exec(end);
  const entry = /,\w+\(\d+\)(\}\)\(\)\)\);)/.exec(end);
  if (parts && entry) {
    const published = `,{load:${parts[2]},modules:${parts[1]}}`; // as webpack 5 writes it
    text = text.slice(0, -20000) + end.slice(0, entry.index) + published + entry[1];
  } else {
    const old = /,(\w+)\(\1\.s=\d+\)\}\(\[/; // webpack 4, near the beginning
    if (!old.test(text)) throw new Error("the loader of the bundle was not found");
    text = text.replace(old, ",{load:$1,modules:$1.m}}([");
  }
  const host = ["window", "self", "document", "navigator", "localStorage", "sessionStorage", "HTMLElement"];
  const module_ = { exports: {} };
  const requires = (name) => provided[name] ?? standIn(name);
  const run = runInThisContext(`(function(module,exports,require,${host}){${text}\n})`);
  run(module_, module_.exports, requires, ...host.map(standIn));
  return module_.exports;
}

function loaded(path) {
  const errors = [];
  const logger = new Proxy({}, { get: (_, level) => (level === "error" ? (...facts) => errors.push(facts) : () => logger) });
  const bundle = opened(path, { events: require("node:events"), loglevel: { ...logger, getLogger: () => logger } });
  const numbers = Object.keys(bundle.modules);
  // Numbers change with each release, the names that a module exports do not.
  const sources = new Map(numbers.map((n) => [n, Function.prototype.toString.call(bundle.modules[n])]));
  const all = (...marks) => numbers.filter((n) => marks.every((mark) => sources.get(n).includes(mark)));
  const only = (...marks) => {
    const found = all(...marks);
    if (found.length !== 1) throw new Error(`${found.length} modules have ${marks}`);
    return bundle.load(found[0]);
  };
  return { only, all, errors };
}

// Node would print the line that failed, which is the whole bundle.
process.on("uncaughtException", (error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
process.on("unhandledRejection", () => {}); // a program may drop a promise that fails
const flex = loaded(process.argv[2]);
const { ActionsImpl } = flex.only("ActionsImpl=void 0", "registerInvocation");
const answers = {
  program: (program) => runProgram(ActionsImpl, flex.errors, program),
  ...attachments(flex),
};

const say = console.log;
for (const name of ["log", "info", "warn", "error", "debug"]) console[name] = () => {};
(async () => {
  say(JSON.stringify({ ready: true }));
  for await (const line of createInterface({ input: process.stdin })) {
    const [kind, question] = Object.entries(JSON.parse(line))[0];
    let answer;
    try {
      answer = { answer: await answers[kind](question) };
    } catch (error) {
      answer = { failed: String(error.stack) };
    }
    say(JSON.stringify(answer));
  }
  process.exit(0);
})();
