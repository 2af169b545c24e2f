/** Where an anonymousId is kept for all subdomains. */
export interface IdCookie {
  get(): string | undefined;
  set(id: string): void;
  remove(): void;
}

/** A first-party cookie with the anonymousId, on the widest domain that the browser takes unless one is given. */
export function idCookie(name: string, domain: string | true): IdCookie {
  const set = (value: string, age: number, at: string) => {
    document.cookie = `${name}=${value}; max-age=${age}; path=/; samesite=lax${at && `; domain=${at}`}${location.protocol === "https:" ? "; secure" : ""}`;
  };
  const get = () =>
    document.cookie
      .split("; ")
      .find((c) => c.startsWith(`${name}=`))
      ?.slice(name.length + 1);
  const write = (value: string, age: number) => {
    const labels = location.hostname.split(".");
    for (let n = domain === true ? labels.length - 1 : 0; n >= 0; n--) {
      set(value, age, domain === true ? labels.slice(n).join(".") : domain);
      if (get() === (age ? value : undefined)) {
        return;
      }
    }
    set(value, age, "");
  };
  return { get, set: (id: string) => write(id, 34_560_000), remove: () => write("", 0) };
}
