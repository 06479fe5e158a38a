/** Bugs planted in src/model: what a folder or a repository is, and which of its files a model is read from. */
import { inFile, type PlantedBug } from "./bugs.ts";

const tests = (...names: string[]) => names.map((name) => `src/model/${name}.test.ts`);
const HUB = tests("hub", "hub-snapshot");

export const folderBugs: PlantedBug[] = [
  ...inFile("src/model/weight-files.ts", tests("load"), [
    ["names.length === 0 ?", "false ?", "an empty folder is said to have something"],
    ["const cure = isUpdate", "const cure = false", "a trainer is sent to the hub"],
  ]),
  ...inFile("src/model/tensors.ts", tests("load"), [
    ["(store.isUpdate ? noNewWeights : noWeights)", "noWeights", "a trainer is told of --load-format"],
    ["const wants = store.isUpdate", "const wants = false", "a trainer is told of a config.json that it has not"],
  ]),
  ...inFile("src/model/folder-check.ts", tests("folder-check", "load"), [
    ["if (weights && !hasWeights(names))", "if (!hasWeights(names))", "random weights need the model's own"],
    ["broken.length > 0 ? `", "broken.length < 0 ? `", "links to files that are gone are not told"],
    [
      'filter((name) => name.endsWith("@"))',
      'filter((name) => name.includes("@"))',
      "a name with an @ is a broken link",
    ],
    ["if (tokenizer === null) throw refused(noTokenizer(names));", "", "a missing tokenizer is not told"],
    ["if (models.length > 1)", "if (models.length > 2)", "two models in a folder are not named"],
  ]),
  ...inFile("src/model/folder-kind.ts", tests("folder-check"), [
    [" || (beside && !names.some((name) => beside.test(name)))", "", "pickles without params.json are Meta's format"],
    ["(?!training_args\\.|optimizer|scheduler|rng_state)", "", "what a Trainer leaves counts as weights"],
    ["names.toSorted().slice(0, most)", "names.toSorted()", "thousands of names are told"],
    ["|^ggml-.*\\.bin$/i", "/i", "older GGML files count as pickles"],
    ['.replace("%", () => someNames(telling))', "", "the telling files are not named"],
    ["/^(model_index\\.json|", "/^(model_indexes\\.json|", "a diffusers pipeline is a folder of models"],
  ]),
  ...inFile("src/model/local-folder.ts", tests("local-folder"), [
    ["if (info) throw refused(aFile(name));", "", "a file is taken for a name on the hub"],
    ["if (isRepository(name)) return null;", "", "names on the hub are refused"],
    ['&& !name.includes("..")', "", "a path upwards is asked for on the hub"],
    ['cached.replace("--", "/")', "cached", "the name that is advised is a folder's"],
    ["(?:https?:\\/\\/)?(?:huggingface", "https:\\/\\/(?:huggingface", "an address without a scheme is not named"],
    ["|^I?Q\\d/i", "/i", "a quantisation after a colon is not named as GGUF"],
    ["isPart ? null : describeOtherKind", "describeOtherKind", "a part of a model is named as something else"],
  ]),
  ...inFile("src/model/snapshot.ts", HUB, [
    ["numberedShards(names) ?? []", "[]", "shards without an index are not downloaded"],
    ["wanted.push(...listing.filter", "wanted.concat(...listing.filter", "weights that were cut short pass for whole"],
    [
      "const wanted = smallFiles(listing);",
      "const wanted: HubFile[] = [];",
      "small files that were cut short pass for whole",
    ],
    ["added_tokens|tokenizer.*)", "added_tokens|tokenizer)", "tokenizer_config.json is not downloaded"],
    ["chat_template(\\.jinja|\\.json)", "chat_template(\\.json)", "chat_template.jinja is not downloaded"],
    ["const needed = [...NEEDED];", "const needed: string[] = [];", "a snapshot without a tokenizer passes for whole"],
  ]),
  ...inFile(
    "src/model/repository.ts",
    [...HUB, ...tests("hub-client")],
    [
      ["const etag = lfs?.oid ?? oid;", "const etag = oid;", "a large file is checked against its pointer's hash"],
      ["!SAFE_PATH.test(path) || ", "", "a file may be written outside its snapshot"],
      [' || !/^[0-9a-f]{40,64}$/.test(etag ?? "")', "", "a hash may be a path"],
      ["if (names.includes(`$", "if (!names.includes(`$", "templates in their folder are not listed"],
      ["if (isCommit(commit))\n", "if (commit)\n", "what is no commit names a folder"],
    ],
  ),
  ...inFile("src/model/cached-repository.ts", HUB, [
    ["if (isCommit(revision)) return;", "", "a commit gets a reference to itself"],
    ["const commit = reference.trim();", "const commit = reference;", "a reference that ends in a newline is none"],
    ["await writeFile(reference, commit);", "await writeFile(reference, revision);", "a reference names itself"],
    ["await rename(unfinished, path);\n    } catch", "} catch", "a listing does not get its name"],
    [
      "    } catch {\n      await unlink(unfinished).catch(() => {});",
      "    } catch (error) {\n      throw error;",
      "a cache that cannot be written to cannot be read",
    ],
  ]),
  ...inFile("src/model/weight-files.ts", tests("load", "folder-check"), [
    ["|| set.total === 0", "", "no shards of none are weights"],
    ["(?!consolidated|adapter_)", "", "shards of Mistral's own format are weights"],
    [
      "names.includes(WEIGHTS_FILE) || names.includes(INDEX_FILE) ||",
      "names.includes(WEIGHTS_FILE) ||",
      "an index alone is no weights",
    ],
    ["|| numberedShards(names) !== null", "", "numbered shards are no weights"],
    ["if (other) return other;", "", "weights in other formats are not named"],
    ["if (named.length > 0) {", "if (named.length > 9) {", "weights under another name are not named"],
    ["absent.length > 4 ? someNames(absent) :", "", "hundreds of missing files are told"],
  ]),
  ...inFile("src/model/config-json.ts", tests("config-json", "config", "load"), [
    ['if (text.trim() === "") return', 'if (text === "") return', "a file of spaces is not named as empty"],
    ["if (/^\\s*<(!doctype|html)/i.test(text)) {", "if (false) {", "a web page is not named as such"],
    [" || Array.isArray(json)) {", ") {", "a list passes for an object"],
    ["text.length <= MAX_MESSAGE ? text :", "true ? text :", "an error is as long as a file's value"],
    ["if (value === undefined) throw", "if (false) throw", "a missing key is not told as missing"],
    ['typeof value === "number" && !Number.isFinite(value)', "false", "NaN is told as null"],
    ["const key = `$", "const key = `.$", "a key is told by another name"],
  ]),
  ...inFile("src/model/quantization.ts", tests("config", "load", "folder-check", "quantization"), [
    ["if (Object.keys(parsed).length > 0) return", "return", "an empty section refuses a model"],
    [
      '"quantization_config", "compression_config", "quantization"',
      '"quantization_config", "quantization"',
      "the older name of compressed tensors is not known",
    ],
    ['"load_in_4bit" in value || "load_in_8bit" in value', "false", "bitsandbytes of older files is not named"],
    ["(ignored(layer) ? null : (groups", "(false ? null : (groups", "a layer that is to be left alone is quantised"],
    [
      'format: "fp8", inputs: (layer) => (skipped(layer) ? null : inputs) };',
      'format: "fp8", inputs: () => inputs };',
      "no module is left out",
    ],
    ['static: algo === "FP8"', "static: false", "ModelOpt's static scales are not used"],
  ]),
  ...inFile("src/model/quantised-tensors.ts", tests("load"), [
    ["|\\.SCB$/", "/", "8-bit tensors of bitsandbytes are not named"],
  ]),
  ...inFile("src/model/tensors.ts", tests("load"), [
    [
      "tensor.dims.some((n, i) => n !== dims[i])",
      "tensor.dims.some((n, i) => n < dims[i]!)",
      "a larger tensor is accepted",
    ],
    ["return { tied: false, notices };", "return { tied: true, notices };", "an LM head of its own is not taken"],
    ['if (tied) expected.delete("lmHead");', 'expected.delete("lmHead");', "a missing LM head is not noticed"],
    ["if (indexBytes > MAX_SAFETENSORS_HEADER_BYTES) {", "if (indexBytes < 0) {", "an index of any size is read"],
    ["[...new Set(weightMap.values())]", "[...weightMap.values()]", "a file is read once for each of its tensors"],
    [
      "if (single) return single;",
      "if (single && (await store.size(INDEX_FILE)) === null) return single;",
      "an index wins over the whole file",
    ],
    ["a.bytes - length) * i", "a.bytes - length) * 0", "only the first values of two tensors are compared"],
    ["offset + at, length", "at, length", "tensors are compared at their file's start"],
  ]),
];
