/** What an engine counts from its start on, as EngineStats has it. */
export class Counters {
  preemptions = 0;
  prefixQueriedTokens = 0;
  prefixHitTokens = 0;
  promptTokens = 0;
  generatedTokens = 0;
  steps = 0;
  /** Of the newest step. */
  stepTokens = 0;
}
