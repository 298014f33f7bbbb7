// Who is signed in: the key stays in this tab (sessionStorage) and goes nowhere but into the calls' header.

const KEY = "trimtab.key";

export const session = { auth: "keys", name: null, roles: [] };

export const key = () => sessionStorage.getItem(KEY);
export const may = (role) => session.roles.includes(role);
export const signedIn = () => session.roles.length > 0;

/** Asks the service what a key is good for; true when it is good for something, and then it is kept. */
export async function signIn(candidate) {
  const headers = candidate ? { Authorization: `Bearer ${candidate}` } : {};
  const response = await fetch("/v1/whoami", { headers });
  if (!response.ok) throw new Error("The service does not answer. Try again in a moment.");
  Object.assign(session, await response.json());
  if (candidate && signedIn()) sessionStorage.setItem(KEY, candidate);
  return signedIn();
}

/** Forgets the key. */
export function signOut() {
  sessionStorage.removeItem(KEY);
  Object.assign(session, { name: null, roles: [] });
}
