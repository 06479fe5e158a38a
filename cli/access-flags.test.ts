import { expect, test } from "bun:test";
import { Command } from "commander";
import { type AccessFlags, accessOptions, addAccessFlags, origins } from "./access-flags.ts";
import { parseFlags } from "./flags.ts";

function parse(args: string[]) {
  const command = new Command("test");
  addAccessFlags(command);
  expect(parseFlags(command, args)).toBeNull();
  return accessOptions(command.opts<AccessFlags>());
}

test("without flags the defaults are left to the server", () => {
  expect(parse([])).toEqual({
    allowedHosts: null,
    allowedOrigins: null,
    allowedMethods: ["*"],
    allowedHeaders: ["*"],
    allowCredentials: false,
  });
});

test("all of them, as vLLM's users write them", () => {
  const args = ["--allowed-origins", '["https://a.example"]', "--allowed-methods", '["get", "POST"]'];
  const more = ["--allowed-headers", "x-a,x-b", "--allow-credentials", "--allowed-hosts", "gpu.example"];
  expect(parse([...args, ...more])).toEqual({
    allowedHosts: ["gpu.example"],
    allowedOrigins: ["https://a.example"],
    allowedMethods: ["GET", "POST"],
    allowedHeaders: ["x-a", "x-b"],
    allowCredentials: true,
  });
});

test("origins are brought to the form that browsers send; what is none is refused", () => {
  const given = '["https://A.example/", "http://b.example:80", "http://[::1]:3000", "app://Desk", "null", "*"]';
  const wanted = ["https://a.example", "http://b.example", "http://[::1]:3000", "app://desk", "null", "*"];
  expect(origins(given)).toEqual(wanted);
  for (const wrong of ["a.example", "localhost:3000", "https://a.example/path", "https://*.a.example", "https://"]) {
    expect(() => origins(wrong)).toThrow("not an origin");
  }
});
