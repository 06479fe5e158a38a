/** Functions written in TypeScript that templates call: their parameters are bound as Python binds them. */
import { fail } from "./errors.ts";
import { type Kwargs, typeName, type Value } from "./values.ts";

/** What a parameter holds: undefined where it was not given. `*rest` holds a Value[], `**rest` a Kwargs. */
// biome-ignore lint/suspicious/noExplicitAny: each function states its own parameters
export type Run = (...args: any[]) => Value;

export interface Native {
  readonly name: string;
  call(args: readonly Value[], kwargs: Kwargs): Value;
}

interface Parameter {
  name: string;
  kind: "required" | "optional" | "list" | "named";
}

/**
 * `signature` is the function's name and its parameters: "replace s old new count?". A name that ends in ? is optional,
 * one that begins with _ cannot be given by name, *name takes the other positional arguments, **name the other named ones.
 */
export function native(signature: string, run: Run): Native {
  const [name = "", ...words] = signature.split(" ");
  const parameters = words.map(parameter);
  // Most calls give positions only, and not too many.
  const required = parameters.filter(({ kind }) => kind === "required").length;
  const simple = parameters.every(({ kind }) => kind === "required" || kind === "optional");
  return {
    name,
    call(args, kwargs) {
      if (simple && kwargs.size === 0 && args.length >= required && args.length <= parameters.length)
        return run(...args);
      return run(...bind(name, parameters, args, kwargs));
    },
  };
}

/** A table of natives by name. */
export function natives(functions: Record<string, Run>): ReadonlyMap<string, Native> {
  return new Map(
    Object.entries(functions).map(([signature, run]) => {
      const made = native(signature, run);
      return [made.name, made];
    }),
  );
}

function parameter(word: string): Parameter {
  if (word.startsWith("**")) return { name: word.slice(2), kind: "named" };
  if (word.startsWith("*")) return { name: word.slice(1), kind: "list" };
  return word.endsWith("?") ? { name: word.slice(0, -1), kind: "optional" } : { name: word, kind: "required" };
}

function bind(name: string, parameters: Parameter[], args: readonly Value[], kwargs: Kwargs): unknown[] {
  const bound: unknown[] = [];
  const left = new Map(kwargs);
  let next = 0;
  let takesAll = false;
  for (const { name: parameter, kind } of parameters) {
    if (kind === "list") {
      bound.push(args.slice(next));
      next = args.length;
    } else if (kind === "named") {
      bound.push(new Map(left));
      takesAll = true;
    } else if (next < args.length) {
      if (left.has(parameter)) fail("TypeError", `${name}() got multiple values for argument '${parameter}'`);
      bound.push(args[next++]);
    } else {
      const given = parameter.startsWith("_") ? undefined : left.get(parameter);
      if (given === undefined && kind === "required") {
        fail("TypeError", `${name}() missing 1 required positional argument: '${parameter.replace(/^_/, "")}'`);
      }
      left.delete(parameter);
      bound.push(given);
    }
  }
  if (next < args.length) {
    const most = parameters.length;
    fail("TypeError", `${name}() takes at most ${most} argument${most === 1 ? "" : "s"} (${args.length} given)`);
  }
  const [unknown] = left.keys();
  if (unknown !== undefined && !takesAll)
    fail("TypeError", `${name}() got an unexpected keyword argument '${unknown}'`);
  return bound;
}

/** No named arguments. */
export const NO_KWARGS: Kwargs = new Map();

/** An argument that must be an integer. */
export function notAnInteger(value: Value): never {
  fail("TypeError", `'${typeName(value)}' object cannot be interpreted as an integer`);
}
