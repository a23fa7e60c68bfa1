// Measures invokeAction of the real @twilio/flex-ui-core; the folder it is installed in is the only argument.
const { createRequire } = require("node:module");
const { join } = require("node:path");

const from = createRequire(join(process.argv[2], "x.cjs"));
const { JSDOM } = from("jsdom");
const { window } = new JSDOM("<!doctype html><div id=root></div>", { url: "https://bench.example/" });
class Audio {
  addEventListener() {}
  removeEventListener() {}
  pause() {}
  play() { return Promise.resolve(); }
}
window.Audio = Audio;
const globals = { window, self: window, Audio };
for (const name of ["document", "navigator", "localStorage", "sessionStorage", "HTMLElement"]) globals[name] = window[name];
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}
const say = console.log;
for (const name of ["log", "info", "warn", "error", "debug"]) console[name] = () => {};

const core = from("@twilio/flex-ui-core");
const version = from("@twilio/flex-ui-core/package.json").version;
const Constructor = Object.getPrototypeOf(core.Actions).constructor;

function prepared(hooks) {
  const actions = new Constructor();
  actions.registerAction("Go", async (payload) => payload);
  for (let i = 0; i < hooks; i++) {
    actions.addListener("beforeGo", async (payload, abort) => {});
    actions.addListener("afterGo", async (payload) => {});
  }
  return async (count) => {
    const payload = { number: 0 };
    for (let i = 0; i < count; i++) await actions.invokeAction("Go", payload);
  };
}

(async () => {
  const cases = { "1 + 1": prepared(1), "5 + 5": prepared(5) };
  const times = {};
  for (const [name, run] of Object.entries(cases)) {
    times[name] = [];
    await run(20000); // warm: what the compiler has not seen yet is not compared
  }
  for (let round = 0; round < 25; round++) {
    for (const [name, run] of Object.entries(cases)) {
      const begun = process.hrtime.bigint();
      await run(5000);
      times[name].push(Number(process.hrtime.bigint() - begun) / 1000 / 5000);
    }
  }
  const result = { version: `ui-core ${version}` };
  for (const [name, t] of Object.entries(times)) {
    t.sort((a, b) => a - b);
    result[name] = [t[0], t[t.length >> 1]];
  }
  say(JSON.stringify(result));
  process.exit(0);
})().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
