// The page's chunks by name, each unpacked once, when a view first needs it.

import { unpack, type Chunk, type Header } from "./unpack";

const loading = new Map<string, Promise<Chunk>>();

export function hasChunk(name: string): boolean {
  return document.getElementById(`chunk-${name}`) !== null;
}

/** The chunk; fails with its name where it cannot be read. */
export function chunk<H extends Header>(name: string): Promise<Chunk<H>> {
  let found = loading.get(name);
  if (!found) {
    found = read(name);
    loading.set(name, found);
  }
  return found as unknown as Promise<Chunk<H>>;
}

async function read(name: string): Promise<Chunk> {
  const element = document.getElementById(`chunk-${name}`);
  if (!element) throw new Error(`the page has no data of \`${name}\``);
  try {
    return await unpack(element.textContent ?? "");
  } catch (error) {
    throw new Error(`the page's data of \`${name}\` cannot be read: ${(error as Error).message}`);
  }
}
