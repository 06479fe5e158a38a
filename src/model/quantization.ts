/**
 * How a checkpoint is quantised: the FP8 formats by what config.json (ModelOpt: also hf_quant_config.json) says of them. All
 * others are refused by their names, before anything is downloaded.
 */
import { z } from "zod";
import { fileError, parseConfigJson } from "./config-json.ts";

/** How the inputs of an FP8 layer are scaled; its weights by what their scales look like. */
interface InputScheme {
  /** The checkpoint has one scale for all inputs of the layer. */
  static: boolean;
  /** A token's scale comes from the lesser of its greatest magnitude and this; 0 = none. */
  bound: number;
}

export interface Quantization {
  /** As config.json calls it. */
  format: string;
  /** Of a linear layer by its name, such as "model.layers.0.self_attn.q_proj"; null for one that is not quantised. */
  inputs(layer: string): InputScheme | null;
}

/** Where ModelOpt says it, beside config.json or instead. */
export const MODELOPT_FILE = "hf_quant_config.json";

const READS = "Fastgen reads FP8 checkpoints (compressed-tensors, fbgemm_fp8, fp8, modelopt) and unquantised ones";
export const CURE = `${READS}: use the original model, also with quantization fp8, or an FP8 version of it`;

/** Names of layers; compressed-tensors' "re:" patterns and ModelOpt's "*" among them. */
const names = z.array(z.string().max(1000)).max(100_000).nullish();
const section = z.looseObject({ quant_method: z.string().nullish() });

type Section = z.output<typeof section>;

/**
 * @param config config.json, parsed.
 * @param modelopt the text of hf_quant_config.json; null when the model has none.
 * @returns null for a checkpoint that is not quantised.
 * @throws FastgenError "model" naming the format and the key.
 */
export function parseQuantization(config: object, modelopt: string | null): Quantization | null {
  for (const key of ["quantization_config", "compression_config", "quantization"]) {
    const value = (config as Record<string, unknown>)[key];
    if (value === undefined || value === null) continue;
    const where = `config.json: ${key}`;
    const parsed = read(where, section, value);
    if (Object.keys(parsed).length > 0) return parseSection(where, parsed);
  }
  if (modelopt === null) return null;
  const json = parseConfigJson(MODELOPT_FILE, modelopt);
  const file = read(MODELOPT_FILE, z.looseObject({ quantization: modeloptSchema }), json);
  return parseModelopt(`${MODELOPT_FILE}: quantization`, file.quantization);
}

function read<T extends z.ZodType>(where: string, schema: T, value: unknown): z.output<T> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw fileError([where, ...issue.path.map(String)].join("."), issue.message);
}

function parseSection(where: string, value: Section): Quantization {
  switch (value.quant_method) {
    case "compressed-tensors":
      return parseCompressed(where, read(where, compressedSchema, value));
    case "fbgemm_fp8":
      return parseFbgemm(read(where, fbgemmSchema, value));
    case "fp8":
      return parseFp8(where, read(where, fp8Schema, value));
    case "modelopt":
      return parseModelopt(where, read(where, modeloptSchema, value));
  }
  // Older files of compressed-tensors have only its groups.
  if (value.quant_method == null && "config_groups" in value) {
    return parseCompressed(where, read(where, compressedSchema, value));
  }
  throw fileError(`${where} (${nameOf(value)})`, `is not supported. ${CURE}`);
}

/** What a section that names no known method is of. */
function nameOf(value: Section): string {
  if (value.quant_method != null) return `quant_method ${JSON.stringify(value.quant_method)}`;
  if ("group_size" in value && "bits" in value) return "MLX's format";
  return "load_in_4bit" in value || "load_in_8bit" in value ? 'quant_method "bitsandbytes"' : "an unknown format";
}

// ---- compressed-tensors ----

const quantized = z.looseObject({
  num_bits: z.number().nullish(),
  type: z.string().nullish(),
  strategy: z.string().nullish(),
  dynamic: z.union([z.boolean(), z.string()]).nullish(),
  symmetric: z.boolean().nullish(),
  group_size: z.number().nullish(),
  block_structure: z.union([z.array(z.number()), z.string()]).nullish(),
});

const compressedSchema = z.looseObject({
  format: z.string().nullish(),
  config_groups: z.record(
    z.string(),
    z.looseObject({
      targets: names,
      format: z.string().nullish(),
      weights: quantized.nullish(),
      input_activations: quantized.nullish(),
      output_activations: quantized.nullish(),
    }),
  ),
  ignore: names,
  sparsity_config: z.looseObject({ format: z.string().nullish() }).nullish(),
  transform_config: z.looseObject({}).nullish(),
});

function parseCompressed(where: string, config: z.output<typeof compressedSchema>): Quantization {
  const sparse = config.sparsity_config?.format;
  if (sparse && sparse !== "dense")
    throw fileError(`${where} (compressed-tensors, ${sparse})`, `is not supported. ${CURE}`);
  if (Object.keys(config.transform_config ?? {}).length > 0) {
    throw fileError(`${where} (compressed-tensors, transform_config)`, `rotated weights are not supported. ${CURE}`);
  }
  const ignored = matcher(config.ignore, matchCompressed);
  const groups = Object.entries(config.config_groups).map(([name, group]) => {
    const format = group.format ?? config.format;
    checkCompressed(`${where}.config_groups.${name} (compressed-tensors, ${format ?? "no format"})`, group);
    // W8A16: the inputs of FP8 weights are quantised by token all the same.
    const inputs = { static: group.input_activations != null && group.input_activations.dynamic !== true, bound: 0 };
    return { targeted: matcher(group.targets, matchCompressed), inputs };
  });
  return {
    format: "compressed-tensors",
    inputs: (layer) => (ignored(layer) ? null : (groups.find((group) => group.targeted(layer))?.inputs ?? null)),
  };
}

type Group = z.output<typeof compressedSchema>["config_groups"][string];

/** Refuses a group of anything but FP8. */
function checkCompressed(
  where: string,
  { weights, input_activations: inputs, output_activations: outputs }: Group,
): void {
  const described = (q: z.output<typeof quantized>) => `${q.num_bits ?? "?"}-bit ${q.type ?? "int"}`;
  for (const [name, q] of Object.entries({ weights, input_activations: inputs })) {
    if (!q) continue;
    const of = `${name} of ${described(q)}${q.strategy ? ` by ${q.strategy}` : ""}`;
    if (q.num_bits !== 8 || q.type !== "float" || q.symmetric === false)
      throw fileError(where, `${of}: not supported. ${CURE}`);
    const strategies = name === "weights" ? ["tensor", "channel", "block"] : ["tensor", "token", "group"];
    if (q.strategy && !strategies.includes(q.strategy)) throw fileError(where, `${of}: not supported. ${CURE}`);
    if (q.strategy === "group" && q.group_size !== BLOCK)
      throw fileError(where, `${of} of ${q.group_size}; groups of ${BLOCK} are supported`);
    if (q.strategy === "block") checkBlock(`${where}.weights.block_structure`, blockOf(q.block_structure));
  }
  if (outputs) throw fileError(where, `output_activations are quantised, which is not supported. ${CURE}`);
}

/** Older files write "128x128". */
function blockOf(value: number[] | string | null | undefined): number[] {
  return typeof value === "string" ? value.split("x").map(Number) : (value ?? []);
}

/** A name, "re:" with a pattern that must match from the name's start, or the class of all linear layers. */
function matchCompressed(pattern: string): (layer: string) => boolean {
  if (pattern === "Linear") return () => true;
  if (!pattern.startsWith("re:")) return (layer) => layer === pattern || layer === `model.${pattern}`;
  try {
    // A repetition of repetitions could take forever.
    if (/[+*}][^()]*\)[+*{]/.test(pattern)) throw new Error("nested repetition");
    const regexp = new RegExp(`^(?:${pattern.slice(3)})`);
    return (layer) => regexp.test(layer);
  } catch (error) {
    throw fileError(
      `config.json: the pattern ${pattern}`,
      `cannot be used (${(error as Error).message}): write names instead`,
    );
  }
}

// ---- fbgemm_fp8 ----

const fbgemmSchema = z.looseObject({
  activation_scale_ub: z.number().positive().max(1e30).default(1200),
  modules_to_not_convert: names,
});

function parseFbgemm(config: z.output<typeof fbgemmSchema>): Quantization {
  const skipped = matcher(config.modules_to_not_convert, matchModule);
  const inputs = { static: false, bound: config.activation_scale_ub };
  return { format: "fbgemm_fp8", inputs: (layer) => (skipped(layer) ? null : inputs) };
}

// ---- fp8 ----

/** FG_SCALE_BLOCK of fastgen.h. */
export const BLOCK = 128;

const fp8Schema = z.looseObject({
  fmt: z.string().nullish(),
  activation_scheme: z.string().nullish(),
  weight_block_size: z.array(z.number()).nullish(),
  modules_to_not_convert: names,
  ignored_layers: names,
});

function parseFp8(where: string, config: z.output<typeof fp8Schema>): Quantization {
  const { fmt, activation_scheme: scheme, weight_block_size: block } = config;
  if (fmt != null && !/^(float8_)?e4m3(fn)?$/.test(fmt))
    throw fileError(`${where}.fmt`, `is "${fmt}"; e4m3 is supported. ${CURE}`);
  if (scheme != null && scheme !== "dynamic" && scheme !== "static") {
    throw fileError(`${where}.activation_scheme`, `is "${scheme}"; dynamic and static are supported`);
  }
  if (block) checkBlock(`${where}.weight_block_size`, block);
  const skipped = matcher([...(config.modules_to_not_convert ?? []), ...(config.ignored_layers ?? [])], matchModule);
  const inputs = { static: scheme === "static" && !block, bound: 0 };
  return { format: "fp8", inputs: (layer) => (skipped(layer) ? null : inputs) };
}

function checkBlock(where: string, block: readonly number[]): void {
  if (block.length === 2 && block.every((n) => n === BLOCK)) return;
  throw fileError(where, `is [${block}]; blocks of ${BLOCK} x ${BLOCK} are supported. ${CURE}`);
}

/** A layer's name, the last parts of it, or a module that the layer is in. */
function matchModule(pattern: string): (layer: string) => boolean {
  return (layer) => `.${layer}.`.includes(`.${pattern}.`);
}

// ---- ModelOpt ----

const modeloptSchema = z.looseObject({
  quant_algo: z.string().nullish(),
  exclude_modules: names,
  ignore: names,
});

function parseModelopt(where: string, config: z.output<typeof modeloptSchema>): Quantization {
  const algo = config.quant_algo;
  // Per tensor and static; per channel and token; by block.
  if (algo !== "FP8" && algo !== "FP8_PER_CHANNEL_PER_TOKEN" && algo !== "FP8_PB_WO") {
    throw fileError(`${where} (modelopt, quant_algo ${JSON.stringify(algo ?? null)})`, `is not supported. ${CURE}`);
  }
  const excluded = matcher([...(config.exclude_modules ?? []), ...(config.ignore ?? [])], matchWildcard);
  const inputs = { static: algo === "FP8", bound: 0 };
  return { format: "modelopt", inputs: (layer) => (excluded(layer) ? null : inputs) };
}

/** A layer's name or a module that it is in, with * for any characters. */
function matchWildcard(pattern: string): (layer: string) => boolean {
  const parts = pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  const regexp = new RegExp(`^(?:.*\\.)?${parts.join(".*")}(?:\\..*)?$`);
  return (layer) => regexp.test(layer);
}

// ---- patterns ----

/** Whether a layer matches any of the patterns. */
function matcher(
  patterns: readonly string[] | null | undefined,
  compile: (pattern: string) => (layer: string) => boolean,
) {
  const all = (patterns ?? []).map(compile);
  return (layer: string) => all.some((matches) => matches(layer));
}
