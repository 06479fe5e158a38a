import { describe, expect, test } from "bun:test";
import golden from "../../test/golden/rope.json";
import { computeRope } from "./rope.ts";

interface Case {
  head_dim: number;
  max_position_embeddings: number;
  rope_theta: number;
  rope: object;
  inv_freq: number[];
  attention_factor: number;
}

/** Distance in units of the last place of float32. */
function ulps(a: number, b: number): number {
  const bits = new Int32Array(new Float32Array([a, b]).buffer);
  return Math.abs(bits[0]! - bits[1]!);
}

const compute = (c: Omit<Case, "inv_freq" | "attention_factor">) =>
  computeRope({
    headDim: c.head_dim,
    maxPositions: c.max_position_embeddings,
    section: "rope_parameters",
    rope: { ...c.rope },
    beside: { rope_theta: c.rope_theta },
  });

describe("inverse frequencies as in transformers (test/golden/make_rope.py)", () => {
  for (const [name, c] of Object.entries(golden.cases as unknown as Record<string, Case>)) {
    test(name, () => {
      const { invFreq, scale } = compute(c);
      expect(invFreq.length).toBe(c.inv_freq.length);
      // float32 pow may differ by one unit in the last place from one processor to the next.
      const worst = Math.max(...c.inv_freq.map((x, i) => ulps(x, invFreq[i]!)));
      expect(worst).toBeLessThanOrEqual(1);
      expect(scale).toBeCloseTo(c.attention_factor, 12);
    });
  }
});

describe("RoPE parameters", () => {
  const base = { head_dim: 64, max_position_embeddings: 4096, rope_theta: 10_000 };

  test("the context grows with linear and YaRN scaling", () => {
    expect(compute({ ...base, rope: { type: "linear", factor: 4 } }).maxContext).toBe(16384);
    const yarn = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 1024 };
    expect(compute({ ...base, rope: yarn }).maxContext).toBe(4096);
    const llama3 = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
    expect(compute({ ...base, rope: llama3 }).maxContext).toBe(4096);
    expect(compute({ ...base, rope: { type: "dynamic", factor: 4 } }).maxContext).toBe(4096);
  });

  test("YaRN interpolates no dimension beyond the last", () => {
    // With so long an original context the slow bound lies past the head: it is cut to headDim - 1.
    const original = 2 ** 30;
    const { invFreq } = compute({
      ...base,
      max_position_embeddings: original,
      rope: { rope_type: "yarn", factor: 4, original_max_position_embeddings: original },
    });
    const low = Math.floor((64 * Math.log(original / (32 * 2 * Math.PI))) / (2 * Math.log(10_000)));
    const last = 31;
    const share = Math.min(Math.max((last - low) / (63 - low), 0), 1);
    const plain = 10_000 ** ((-2 * last) / 64);
    expect(invFreq[last]! / (plain * (1 - share + share / 4))).toBeCloseTo(1, 5);
  });

  test("what YaRN does not say", () => {
    const yarn = { rope_type: "yarn", original_max_position_embeddings: 1024 };
    expect(compute({ ...base, rope: yarn })).toEqual(compute({ ...base, rope: { ...yarn, factor: 4 } }));
    const scale = (rope: object) => compute({ ...base, rope: { ...yarn, factor: 4, ...rope } }).scale;
    // mscale counts only beside mscale_all_dim.
    expect(scale({ mscale: 2 })).toBe(scale({}));
    expect(scale({ mscale: 2, mscale_all_dim: 1 })).toBeCloseTo((1 + 0.2 * Math.log(4)) / (1 + 0.1 * Math.log(4)), 12);
    expect(scale({ factor: 0.5 })).toBe(1);
  });

  test("vLLM's factor of attention multiplies what follows from the scaling, or stands alone", () => {
    const scale = (rope: object) => compute({ ...base, rope: { rope_type: "yarn", factor: 4, ...rope } }).scale;
    const derived = 1 + 0.1 * Math.log(4);
    expect(scale({ attn_factor: 0.5 })).toBeCloseTo(derived * 0.5, 12);
    expect(scale({ attn_factor: 1 / derived })).toBeCloseTo(1, 12);
    expect(scale({ apply_yarn_scaling: false })).toBe(1);
    expect(scale({ apply_yarn_scaling: false, attn_factor: 0.5 })).toBe(0.5);
    expect(scale({ apply_yarn_scaling: true, extrapolation_factor: 1 })).toBe(scale({}));
    expect(scale({ attention_factor: 0.5 })).toBe(0.5);
    // A factor of 1 asks for nothing.
    expect(scale({ attention_factor: 0.5, attn_factor: 1 })).toBe(0.5);
  });

  test("YaRN over a very short original context keeps the first dimension and divides by no zero", () => {
    const frequencies = (original: number) =>
      compute({ ...base, rope: { rope_type: "yarn", factor: 4, original_max_position_embeddings: original } }).invFreq;
    expect(frequencies(64)[0]).toBe(1);
    // Both bounds are 0: every dimension but the first is interpolated whole.
    const none = frequencies(6);
    expect(none[0]).toBe(1);
    for (let i = 1; i < 32; i++) expect(none[i]! * 4 * 10_000 ** ((2 * i) / 64)).toBeCloseTo(1, 5);
  });

  test("no scaling makes a context that int32 cannot hold", () => {
    expect(compute({ ...base, rope: { type: "linear", factor: 1e9 } }).maxContext).toBe(2 ** 31 - 1);
  });

  test("what is missing or unknown is named", () => {
    expect(() => compute({ ...base, rope: { rope_type: "linear" } })).toThrow(/rope_parameters.factor is missing/);
    expect(() => compute({ ...base, rope: { rope_type: "longrope" } })).toThrow(/"longrope" is not supported.*yarn/);
    const inverted = { rope_type: "llama3", factor: 8, low_freq_factor: 4, high_freq_factor: 4 };
    expect(() => compute({ ...base, rope: inverted })).toThrow(/high_freq_factor is 4/);
    expect(() => compute({ ...base, rope: { partial_rotary_factor: 0.5 } })).toThrow(/partial_rotary_factor is 0.5/);
  });
});
