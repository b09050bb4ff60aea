/**
 * What reaches an NBD server, by the log of nbdkit's log filter.
 *
 * @module
 */

/** The beginning or the end of a request that reached a server. */
export interface NbdEvent {
  /** What was requested: `Read`, `Write`, `Flush`, `Zero` or `Trim`. */
  readonly action: string;
  /** Whether it is the end of the request, not its beginning. */
  readonly ended: boolean;
  /** Its first byte. A flush has none. */
  readonly offset: number;
  /** Its length in bytes. */
  readonly count: number;
  /** Whether the request is to be on the medium when it is answered. */
  readonly fua: boolean;
}

const LINE = /connection=(\d+) (\.\.\.)?(Read|Write|Flush|Zero|Trim) id=(\d+)(.*)$/;

/**
 * Parses the log of nbdkit's log filter.
 *
 * @param text The log. A last line that is written in part is left out.
 * @returns The requests for data and flushes, each with its beginning and its end, in the order of the server.
 */
export function parseNbdLog(text: string): NbdEvent[] {
  const begun = new Map<string, NbdEvent>();
  const events: NbdEvent[] = [];
  for (const line of text.slice(0, text.lastIndexOf("\n") + 1).split("\n")) {
    const [, connection = "", end, action = "", id = "", rest = ""] = LINE.exec(line) ?? [];
    if (action === "") continue;
    const key = `${connection} ${id}`;
    if (end !== undefined) {
      const request = begun.get(key);
      if (request !== undefined) events.push({ ...request, ended: true });
      continue;
    }
    const number = (name: string) => Number(new RegExp(` ${name}=(\\S+)`).exec(rest)?.[1] ?? 0);
    const event = {
      action,
      ended: false,
      offset: number("offset"),
      count: number("count"),
      fua: number("fua") === 1,
    };
    begun.set(key, event);
    events.push(event);
  }
  return events;
}
