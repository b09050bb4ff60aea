/**
 * Errors of bugs in this library.
 *
 * @module
 */

/** A bug of this library: a state that should be impossible. It breaks the client. */
export class DmioFault extends Error {
  /**
   * A fault of this library.
   *
   * @param message The state.
   */
  constructor(message: string) {
    super(`fault in dmio: ${message}`);
    this.name = "DmioFault";
  }
}
