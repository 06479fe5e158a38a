import { expect, test } from "bun:test";
import { FastgenError } from "../errors.ts";
import { kvEventsOf } from "./config.ts";
import { parseEndpoint } from "./sockets.ts";

test("events are published once they are enabled, with vLLM's defaults", () => {
  expect(kvEventsOf(undefined)).toBeNull();
  expect(kvEventsOf({})).toBeNull();
  expect(kvEventsOf({ enable_kv_cache_events: true, publisher: "null" })).toBeNull();
  expect(kvEventsOf({ enable_kv_cache_events: true })).toEqual({
    endpoint: "tcp://*:5557",
    buffer_steps: 10_000,
    hwm: 100_000,
    topic: "",
  });
});

test.each([
  [{ enable_kv_events: true }, "kv_events_config.enable_kv_events is an unknown"],
  [{ publisher: "kafka" }, 'kv_events_config.publisher must be "zmq" or "null", not "kafka"'],
  [{ buffer_steps: 2_000_000 }, "kv_events_config.buffer_steps must be at most 1000000, not 2000000"],
  [{ hwm: -1 }, "kv_events_config.hwm must be at least 0, not -1"],
  ["zmq", "kv_events_config must be an object"],
])("%j is refused by the name of its field", (option, message) => {
  expect(() => kvEventsOf(option)).toThrow(message);
  expect(() => kvEventsOf(option)).toThrow(FastgenError);
});

test("an endpoint's port is that of its engine", () => {
  expect(parseEndpoint("tcp://*:5557", "f", 0)).toEqual({ text: "tcp://*:5557", host: null, port: 5557 });
  expect(parseEndpoint("tcp://10.0.0.1:5557", "f", 3)).toMatchObject({ host: "10.0.0.1", port: 5560 });
  expect(parseEndpoint("tcp://[::1]:5557", "f", 0)).toMatchObject({ host: "::1", port: 5557 });
});

test.each(["ipc:///tmp/x", "tcp://host", "tcp://*:0", "tcp://*:65535", "tcp://a b:1", "5557"])(
  "'%s' is no endpoint of a second engine",
  (text) => {
    expect(() => parseEndpoint(text, "kv_events_config.endpoint", 1)).toThrow(
      "kv_events_config.endpoint must be a TCP endpoint",
    );
  },
);
