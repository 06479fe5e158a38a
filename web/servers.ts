/**
 * The servers that the page talks to: the one that it came from, and others that the reader adds by address. The page's policy
 * lets it connect to those alone that its own address names, so an added server becomes part of it.
 */
import { isServerOrigin } from "../routes/server/page-servers.ts";
import { MAX_PAGE_SERVERS } from "../src/limits.ts";

export interface Server {
  /** http://gpu2:5678; "" = the server that the page came from. */
  address: string;
  /** "" = none. */
  key: string;
}

const ADDRESSES = "fastgen.servers";
const keyOf = (address: string) => `fastgen.key ${address}`;

/** All servers, the page's own first. */
export function servers(): Server[] {
  return ["", ...storedAddresses()].map((address) => ({ address, key: storedKey(address) }));
}

function storedAddresses(): string[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(ADDRESSES) ?? "[]");
    return Array.isArray(stored) ? stored.map(String).filter(isServerOrigin).slice(0, MAX_PAGE_SERVERS) : [];
  } catch {
    return [];
  }
}

const storedKey = (address: string) =>
  sessionStorage.getItem(keyOf(address)) ?? localStorage.getItem(keyOf(address)) ?? "";

/** @param keep also when the tab is closed */
export function setKey(address: string, key: string, keep: boolean): void {
  for (const storage of [sessionStorage, localStorage]) storage.removeItem(keyOf(address));
  if (key !== "") (keep ? localStorage : sessionStorage).setItem(keyOf(address), key);
}

export const isKept = (address: string): boolean => localStorage.getItem(keyOf(address)) !== null;

/**
 * The origin that a text means; `http://` may be left out.
 * @throws Error in words for the reader
 */
export function toAddress(text: string): string {
  const trimmed = text.trim();
  const origin = URL.parse(/^[a-z]+:\/\//i.test(trimmed) ? trimmed : `http://${trimmed}`)?.origin ?? "";
  if (isServerOrigin(origin)) return origin;
  throw new Error(`“${trimmed.slice(0, 100)}” is not an address, such as http://gpu2:5678.`);
}

/** @throws Error where the server is there already, or there are too many */
export function addServer(address: string): void {
  const known = storedAddresses();
  if (known.includes(address) || address === location.origin) throw new Error(`${address} is there already.`);
  if (known.length >= MAX_PAGE_SERVERS) throw new Error(`The page knows ${MAX_PAGE_SERVERS} servers, and no more.`);
  localStorage.setItem(ADDRESSES, JSON.stringify([...known, address]));
}

export function removeServer(address: string): void {
  setKey(address, "", false);
  localStorage.setItem(ADDRESSES, JSON.stringify(storedAddresses().filter((one) => one !== address)));
}

/** The page's address with all servers in it; null = it is that already. */
export function addressWithServers(): string | null {
  const wanted = new URLSearchParams(storedAddresses().map((address) => ["server", address])).toString();
  return wanted === location.search.slice(1) ? null : `${location.pathname}${wanted && `?${wanted}`}${location.hash}`;
}

/** A server's name for the reader. */
export const nameOf = (address: string): string => (address === "" ? location.host : address.replace(/^http:\/\//, ""));
