/** Samples answers and has them scored again, over HTTP: what a trainer does with a server. */
import { json, type TestServer } from "../routes/testing.ts";

export interface Sampled {
  prompt_token_ids: number[];
  token_ids: number[];
  /** By generated token, as it was sampled. */
  logprobs: number[];
}

/** The rollouts of a prompt's choices. */
export async function sample(server: TestServer, token_ids: number[], sampling_params: object): Promise<Sampled[]> {
  const body = { token_ids, sampling_params, return_rollout: true };
  const { choices } = await json(await server.post("/inference/v1/generate", body));
  return choices.map(({ rollout }: { rollout: Sampled }) => rollout);
}

/** By sequence and token: the log probabilities of what was sampled, computed as prompts are. */
export async function score(server: TestServer, sampled: Sampled[]): Promise<number[][]> {
  const sequences = sampled.map(({ prompt_token_ids, token_ids }) => ({ prompt_token_ids, token_ids }));
  const { data } = await json(await server.post("/inference/v1/score", { sequences }));
  return data.map(({ logprobs }: { logprobs: number[] }) => logprobs);
}

/** Prompts in the built-in model's own words. */
export const QUESTIONS = ["How is the weather in Paris?", "Hi!", "Tell me about the sun.", "What is 2 plus 3?"];

export async function promptIds(server: TestServer, question: string): Promise<number[]> {
  const messages = [{ role: "user", content: question }];
  return (await json(await server.post("/tokenize", { messages }))).tokens;
}
