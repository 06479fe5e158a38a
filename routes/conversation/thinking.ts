/** Whether, how hard and how long the model thinks before it answers: clients have many names for that. */
import { z } from "zod";

const flag = z.boolean().optional();

/** Tokens of reasoning, at most; -1 = no limit. */
const tokenBudget = z.int().min(-1).optional();

const EFFORTS = ["none", "minimal", "low", "medium", "high", "xhigh", "max"] as const;

/** Words by which a client leaves the effort to the server. */
const ANY_EFFORT = ["default", "auto"] as const;

/** OpenAI's words and those of templates, or a share of the full effort (SGLang). */
export const reasoningEffort = z
  .union(
    [z.enum(EFFORTS), z.enum(ANY_EFFORT), z.number().min(0).max(1)],
    `must be ${EFFORTS.map((word) => `"${word}"`).join(", ")}, or a number from 0 to 1`,
  )
  .transform((effort) => (effort === "default" || effort === "auto" ? undefined : effort))
  .optional();

/** Fields of fields: what other-fields.ts says of unknown ones holds for these too. */
export const nestedThinking = {
  /** OpenRouter's, and OpenAI's where a client sends what /responses takes. Reasoning is never summarised. */
  reasoning: {
    effort: reasoningEffort,
    enabled: flag,
    exclude: flag,
    max_tokens: tokenBudget,
    summary: z.string().optional(),
  },
  /** DeepSeek's, Z.ai's and Moonshot's, after Anthropic's. */
  thinking: { type: z.enum(["enabled", "disabled", "adaptive", "auto"]).optional(), budget_tokens: tokenBudget },
};

/** What reaches the template. */
export const thinkingFields = {
  reasoning_effort: reasoningEffort,
  /** Qwen's. */
  enable_thinking: flag,
  /** Ollama's. */
  think: z.union([z.boolean(), z.enum(EFFORTS)], "must be true, false, or a word for the effort").optional(),
  thinking: z
    .union(
      [z.boolean(), z.strictObject(nestedThinking.thinking)],
      'must be true, false, or {"type": "enabled", "disabled" or "adaptive", "budget_tokens": a whole number}',
    )
    .optional(),
  reasoning: z.strictObject(nestedThinking.reasoning).optional(),
};

/** What becomes of the reasoning while it is written. */
export const reasoningFields = {
  /** false: reasoning is left out of the reply. */
  include_reasoning: flag,
  thinking_token_budget: tokenBudget,
  /** The same in other servers' words. */
  thinking_budget: tokenBudget,
  thinking_budget_tokens: tokenBudget,
  reasoning_budget: tokenBudget,
};

type Output<S extends z.ZodRawShape> = Partial<z.output<z.ZodObject<S>>>;
export type ThinkingFields = Output<typeof thinkingFields>;

/** The effort of reasoning, by the first of its names; undefined where the request does not say. */
export function effortOf({ reasoning_effort, reasoning, think }: ThinkingFields): string | number | undefined {
  return reasoning_effort ?? reasoning?.effort ?? (typeof think === "string" ? think : undefined);
}

/** Does the request switch thinking on or off? undefined = the template decides. To ask for some effort is to ask for thinking, as in vLLM. */
export function thinkingSwitch(fields: ThinkingFields): boolean | undefined {
  const { enable_thinking, thinking, think, reasoning } = fields;
  const own = enable_thinking ?? switchOf(thinking) ?? (typeof think === "boolean" ? think : reasoning?.enabled);
  if (own !== undefined) return own;
  const effort = effortOf(fields);
  return effort === undefined ? undefined : effort !== "none";
}

function switchOf(thinking: ThinkingFields["thinking"]): boolean | undefined {
  if (typeof thinking === "boolean") return thinking;
  if (thinking?.type === "enabled") return true;
  return thinking?.type === "disabled" ? false : undefined;
}

/** What becomes of the reasoning of an answer. */
export function reasoningOf(fields: ThinkingFields & Output<typeof reasoningFields>) {
  const { thinking_token_budget, thinking_budget, thinking_budget_tokens, reasoning_budget } = fields;
  const { thinking, reasoning, include_reasoning } = fields;
  const nested = (typeof thinking === "object" ? thinking.budget_tokens : undefined) ?? reasoning?.max_tokens;
  const budget = thinking_token_budget ?? thinking_budget ?? thinking_budget_tokens ?? reasoning_budget ?? nested ?? -1;
  return {
    includeReasoning: include_reasoning ?? !(reasoning?.exclude ?? false),
    /** null = no limit. */
    thinkingBudget: budget === -1 ? null : budget,
  };
}
