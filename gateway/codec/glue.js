// Calls a codec as LoRa Alliance TS013 has it; the older forms of network servers stand in where it has none.
// `begin` runs the codec's text: each message finds it as it was written, with variables of its own.
(function (begin, libraries, normalizing, variablesText, limit) {
  "use strict";
  const { parse, stringify } = JSON, own = Object.keys, scope = globalThis;
  const nothing = () => {}, modules = {};
  const console = { log: nothing, info: nothing, debug: nothing, warn: nothing, error: nothing };

  function require(name) {
    if (name in modules) return modules[name];
    throw new Error(`the codec needs the module ${name}, which is not there`);
  }

  for (const [name, make] of libraries) {
    const module = { exports: {} };
    make(module.exports, module, require);
    modules[name] = module.exports;
  }
  // A codec that puts something else in the place of Date would do so for all messages to come.
  for (const name of Object.getOwnPropertyNames(scope)) {
    const { configurable } = Object.getOwnPropertyDescriptor(scope, name);
    const fixed = { writable: false, configurable: false, enumerable: false };
    if (configurable) Object.defineProperty(scope, name, fixed);
  }
  const tools = { console, require, Buffer: modules.buffer && modules.buffer.Buffer };
  const load = () => begin(tools);

  function input(text, port, time) {
    const bytes = new Array(text.length);
    for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
    const recvTime = new Date(time);
    return { bytes, fPort: port, recvTime, time: recvTime.toISOString(), variables: parse(variablesText) };
  }

  // Older driver packages return the data as such.
  function enveloped(result) {
    return "data" in result || "errors" in result || "warnings" in result ? result : { data: result };
  }

  function decode(codec, given) {
    if (codec.decodeUplink) return enveloped(checked(codec.decodeUplink(given), "decodeUplink"));
    if (codec.Decoder) return { data: codec.Decoder(given.bytes, given.fPort, given.variables) };
    if (codec.Decode) return { data: codec.Decode(given.fPort, given.bytes, given.variables) };
    throw new Error("the codec has no function decodeUplink");
  }

  function normalize(codec, data) {
    if (!codec.normalizeUplink) throw new Error("the codec has no function normalizeUplink");
    return checked(codec.normalizeUplink({ data }), "normalizeUplink");
  }

  function checked(result, name) {
    if (result === null || typeof result !== "object") throw new Error(`${name} has returned ${result}`);
    return result;
  }

  function data(result, name) {
    const errors = result.errors;
    if (errors && errors.length) throw new Error([].concat(errors).join("; "));
    if (result.data === undefined || result.data === null) throw new Error(`${name} has returned no data`);
    return result.data;
  }

  function told(value) {
    const text = stringify(value);
    if (text === undefined) throw new Error("what it returned is no data");
    if (text.length > limit) throw new Error(`what it returned is longer than ${limit} characters`);
    return text;
  }

  function guarded(work) {
    try {
      return "+" + work();
    } catch (error) {
      return "-" + String(error && error.message !== undefined ? error.message : error);
    } finally {
      for (const name of own(scope)) delete scope[name];
    }
  }

  return (whole, text, port, time) => guarded(() => {
    const codec = load();
    const result = decode(codec, input(text, port, time));
    if (whole) return told(result);
    const found = data(result, "decodeUplink");
    return told(normalizing ? data(normalize(codec, found), "normalizeUplink") : found);
  });
})
