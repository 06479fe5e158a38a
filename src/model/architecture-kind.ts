/** Architectures that Fastgen does not compute: what kind of model each is. */

type Config = Record<string, unknown>;

const isSet = (config: Config, ...keys: string[]) =>
  keys.some((key) => {
    const value = config[key];
    return (typeof value === "number" && value > 1) || (typeof value === "object" && value !== null);
  });

/** The first that fits. Encoder-decoders of images or sound are named for what they read. */
const KINDS: [what: string, is: (architecture: string, config: Config) => boolean][] = [
  [
    "a model of images",
    (name, config) =>
      isSet(config, "vision_config", "visual", "image_size") ||
      /Vision|Image|CLIP|ViT|VL|Llava|Pixtral|Mllama/.test(name),
  ],
  [
    "a model of sound",
    (name, config) => isSet(config, "audio_config", "num_mel_bins") || /Audio|Speech|Wav2Vec|Whisper|TTS/.test(name),
  ],
  [
    "an encoder-decoder",
    (name, config) =>
      config.is_encoder_decoder === true || /^(T5|MT5|UMT5|Bart|MBart|Marian|Pegasus|LED|M2M)/.test(name),
  ],
  ["a diffusion model", (_, config) => typeof config._class_name === "string"],
  [
    "a classifier or reward model, which writes no text",
    (name) => /Classification|Reward|QuestionAnswering|Scor/.test(name),
  ],
  [
    "an encoder, which writes no text",
    (name) => /MaskedLM|PreTraining|^(\w*Bert|\w*Roberta|Deberta\w*|XLM\w*|Electra|MPNet)Model$/i.test(name),
  ],
  [
    "a model without a language-model head, which writes no text",
    (name) => /[a-z0-9]Model$/.test(name) && !/LMHeadModel$/.test(name),
  ],
  [
    "a mixture of experts",
    (name, config) =>
      isSet(config, "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts") ||
      /moe|Mixtral/i.test(name),
  ],
  [
    "a state-space or recurrent model",
    (name, config) => isSet(config, "state_size", "ssm_cfg") || /Mamba|Rwkv/i.test(name),
  ],
];

/** What kind of model a config.json with an unsupported architecture describes; null when nothing tells. */
export function architectureKind(architecture: string, config: Config): string | null {
  return KINDS.find(([, is]) => is(architecture, config))?.[0] ?? null;
}
