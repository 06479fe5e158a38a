/** Why something cannot become a grammar, in words that follow the field's name: "/minLength must be a whole number". */
export class Refusal extends Error {}

export function refuse(message: string): never {
  throw new Refusal(message);
}
