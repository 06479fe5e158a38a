/** What the tests of the page share: a browser for each describe(), and pages that are closed after each test. */
import { afterAll, afterEach, beforeAll } from "bun:test";
import type { Browser } from "playwright-core";
import { launch, type OpenPage, openPage } from "./browser.ts";

type PageArguments = Parameters<typeof openPage> extends [Browser, ...infer Rest] ? Rest : never;

/** Call it in a describe(). `check` sees each page after its test, before it is closed. */
export function usePages(check: (one: OpenPage) => void = () => {}) {
  let browser: Browser;
  const endings: (() => unknown)[] = [];
  beforeAll(async () => {
    browser = await launch();
  });
  afterAll(() => browser.close());
  afterEach(async () => {
    for (const end of endings.splice(0)) await end();
  });
  return {
    async open(...args: PageArguments): Promise<OpenPage> {
      const one = await openPage(browser, ...args);
      endings.push(() => {
        check(one);
        return one.close();
      });
      return one;
    },
    /** Of what else the test has opened. */
    closeAfterwards: (close: () => unknown): unknown => endings.push(close),
    newPage: () => browser.newPage(),
  };
}
