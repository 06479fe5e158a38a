/** import { Fastgen } from "fastgen" */
export type { ErrorKind } from "./errors.ts";
export { FastgenError } from "./errors.ts";
export { Fastgen } from "./fastgen.ts";
export type { ResolvedParams, SamplingParams } from "./params.ts";
export { parseJson } from "./text/json.ts";
export type * from "./types.ts";
