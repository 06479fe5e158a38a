/** Requests with small grammars, for tests of the scheduler. */

import type { EngineRequest } from "../protocol.ts";
import { type FakeGrammar, type FakeState, fakeMatcher } from "./fake-grammar.ts";
import { prompt, type Rig, request } from "./scheduler-rig.ts";

/** Ends grammars. Requests may also have other stop ids. */
export const EOS = 3;

export const CHOICE = Array.from({ length: 20 }, (_, i) => 20 + i);

/** Goes on for ever, with a choice of twenty. */
export const endless: FakeGrammar = { states: [{ next: new Map(CHOICE.map((id) => [id, 0])) }], stopIds: [EOS] };

/** A choice, then these tokens, then the end, with a stop id or without. */
export function record(forced: number[], last: FakeState = { next: new Map(), accepting: true }): FakeGrammar {
  const middle = forced.map((id, i) => ({ next: new Map([[id, i + 2]]) }));
  return { states: [{ next: new Map(CHOICE.map((id) => [id, 1])) }, ...middle, last], stopIds: [EOS] };
}

export function constrained(grammar: FakeGrammar, maxTokens: number, more: Partial<EngineRequest> = {}): EngineRequest {
  const fields = { grammar: { matcher: fakeMatcher(grammar), after: [] }, stopIds: Int32Array.of(EOS) };
  return request(prompt(20), maxTokens, { ...fields, ...more });
}

/** Runs the requests to their ends and compares them with what they generate alone. */
export function run(rig: Rig, ...requests: EngineRequest[]) {
  rig.add(...requests);
  rig.finish();
  rig.checkEnd();
  return requests.map(({ id }) => rig.received.get(id)!);
}
