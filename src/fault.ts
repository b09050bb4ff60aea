/**
 * Faults of this library itself.
 *
 * @module
 */

/** A fault of this library itself: something that cannot happen did. The client is closed by it. */
export class DmioFault extends Error {
  /**
   * A fault of this library.
   *
   * @param message What could not happen.
   */
  constructor(message: string) {
    super(`fault in dmio: ${message}`);
    this.name = "DmioFault";
  }
}
