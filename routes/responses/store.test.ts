import { expect, test } from "bun:test";
import { itemId } from "./response.ts";
import { ResponseStore, type StoredResponse, StoreReader } from "./store.ts";

const hex = (n: number) => n.toString(16).padStart(32, "0");
const idOf = (n: number) => `resp_${hex(n)}`;

function stored(n: number, previous: number | null = null, text = ""): StoredResponse {
  const output = [{ id: itemId("msg", hex(n), 0), type: "message", text }];
  const response = { id: idOf(n), previous_response_id: previous === null ? null : idOf(previous), output };
  return { response, input: [{ type: "message", role: "user", content: [`${n}`] }] };
}

const read = (store: ResponseStore, most = 1e6) => new StoreReader(store, most);

test("beyond the number, the longest unused go", () => {
  const store = new ResponseStore({ responses: 3, bytes: 1e6 });
  for (const n of [1, 2, 3]) store.put(stored(n));
  expect(read(store).get(idOf(1))).toEqual(stored(1));
  store.put(stored(4));
  expect([1, 2, 3, 4].map((n) => store.get(idOf(n)) !== null)).toEqual([true, false, true, true]);
});

test("beyond the bytes, the longest unused go; one that is larger than all is not kept", () => {
  const one = Buffer.byteLength(JSON.stringify(stored(1, null, "x".repeat(1000))));
  const store = new ResponseStore({ responses: 100, bytes: 2 * one });
  for (const n of [1, 2]) store.put(stored(n, null, "x".repeat(1000)));
  expect(store.size).toEqual({ responses: 2, bytes: 2 * one });
  store.put(stored(3, null, "x".repeat(1000)));
  expect([1, 2, 3].map((n) => store.get(idOf(n)) !== null)).toEqual([false, true, true]);
  store.put(stored(4, null, "x".repeat(3000)));
  expect(store.size).toEqual({ responses: 0, bytes: 0 });
});

test("none are kept where the bound is 0", () => {
  const store = new ResponseStore({ responses: 0, bytes: 1e6 });
  store.put(stored(1));
  expect(store.size).toEqual({ responses: 0, bytes: 0 });
});

test("a chain is the conversation in its order, and is used as a whole", () => {
  const store = new ResponseStore({ responses: 4, bytes: 1e6 });
  for (const [n, previous] of [
    [1, null],
    [2, 1],
    [3, 2],
    [4, null],
  ] as const) {
    store.put(stored(n, previous));
  }
  expect(
    read(store)
      .chain(idOf(3))!
      .map(({ input }) => input),
  ).toEqual([1, 2, 3].map((n) => stored(n).input));
  // The first of the conversation goes before those that continue it.
  store.put(stored(5));
  store.put(stored(6));
  expect([1, 2, 3, 4].map((n) => store.get(idOf(n)) !== null)).toEqual([false, true, true, false]);
  expect(read(store).chain(idOf(3))).toBeNull();
});

test("what is deleted is gone, and takes no bytes", () => {
  const store = new ResponseStore({ responses: 4, bytes: 1e6 });
  store.put(stored(1));
  store.delete(idOf(1));
  store.delete(idOf(2));
  expect(store.get(idOf(1))).toBeNull();
  expect(store.size).toEqual({ responses: 0, bytes: 0 });
});

test("output items are found by their ids alone", () => {
  const store = new ResponseStore({ responses: 4, bytes: 1e6 });
  store.put(stored(1, null, "a"));
  expect(read(store).item(itemId("msg", hex(1), 0))).toMatchObject({ text: "a" });
  for (const other of [itemId("msg", hex(1), 1), itemId("msg", hex(2), 0), "msg_1", "", "__proto__"]) {
    expect(read(store).item(other)).toBeNull();
  }
});

test("a request reads each response once, and so many bytes", () => {
  const store = new ResponseStore({ responses: 4, bytes: 1e6 });
  for (const n of [1, 2]) store.put(stored(n, n === 1 ? null : 1, "x".repeat(100)));
  const one = store.size.bytes / 2;
  const reader = read(store, one + 10);
  const ids = [itemId("msg", hex(1), 0), itemId("msg", hex(1), 1), itemId("msg", hex(1), 0)];
  expect(ids.map((id) => reader.item(id) !== null)).toEqual([true, false, true]);
  expect(() => reader.get(idOf(2))).toThrow("--max-body-bytes");
  expect(() => read(store, 2 * one - 20).chain(idOf(2))).toThrow("--max-body-bytes");
  expect(read(store, 2 * one + 20).chain(idOf(2))).toHaveLength(2);
});
