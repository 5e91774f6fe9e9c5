// What classes lack before methods can start.

/** Names in a sentence. */
const SAID = 3;

/** Some names, and how many others. */
function few(names) {
  const more = names.length - SAID;
  return more > 1 ? `${names.slice(0, SAID).join(", ")} and ${more} others` : names.join(", ");
}

/** What a person has to do about classes, or an empty string. */
export function lacking(classes) {
  if (classes.length < 2) return "add at least two classes";
  const empty = classes.filter((own) => !own.pictures.length).map((own) => `“${own.name}”`);
  if (empty.length) return `add pictures to ${few(empty)}`;
  const twin = classes.find((own, index) => classes.findIndex((other) => other.name === own.name) < index);
  return twin ? `give the two classes “${twin.name}” different names` : "";
}
