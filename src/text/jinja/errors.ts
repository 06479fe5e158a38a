/** What can go wrong in a template, by the names that Python and Jinja2 give to it. */

export type ErrorName =
  | "TemplateSyntaxError" // found while the template is parsed
  | "TemplateRuntimeError"
  | "UndefinedError"
  | "SecurityError" // the sandbox forbids it
  | "FilterArgumentError"
  | "TypeError"
  | "ValueError"
  | "KeyError"
  | "IndexError"
  | "OverflowError"
  | "ZeroDivisionError";

/** A fault of the template, or of what it was given. The message is close to Jinja2's. */
export class TemplateError extends Error {
  /** The exception that Jinja2 would raise. */
  readonly errorName: ErrorName;

  constructor(errorName: ErrorName, message: string) {
    super(message);
    this.errorName = errorName;
  }
}

/** raise_exception(message): the template refuses the conversation, in its own words. */
export class TemplateRefusal extends Error {}

/** Throws a TemplateError. */
export function fail(errorName: ErrorName, message: string): never {
  throw new TemplateError(errorName, message);
}
