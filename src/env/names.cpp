#include "env/names.h"

#include <array>

namespace rlcpp::env {
namespace {

constexpr std::array<std::string_view, 193> kGiven = {
    "Aaron",    "Abigail",  "Adele",    "Adrian",    "Agnes",   "Alan",    "Albert",   "Alice",   "Amara",
    "Amelia",   "Anders",   "Andrea",   "Anton",     "Ariel",   "Arthur",  "Astrid",   "Barbara", "Basil",
    "Beatrice", "Benjamin", "Bernard",  "Bianca",    "Boris",   "Brenda",  "Bruno",    "Camille", "Carla",
    "Cecil",    "Celeste",  "Chiara",   "Clara",     "Clement", "Conrad",  "Cora",     "Cyrus",   "Dalia",
    "Damian",   "Daphne",   "David",    "Deborah",   "Dennis",  "Diana",   "Dmitri",   "Dora",    "Edgar",
    "Edith",    "Edwin",    "Elena",    "Elias",     "Elliot",  "Elsa",    "Emil",     "Erika",   "Ernest",
    "Esther",   "Eugene",   "Eva",      "Fabian",    "Felix",   "Fiona",   "Flora",    "Frances", "Frank",
    "Frederik", "Gabriel",  "Gemma",    "George",    "Gerard",  "Gilbert", "Gina",     "Gloria",  "Greta",
    "Gustav",   "Hana",     "Harold",   "Hazel",     "Hector",  "Helen",   "Henry",    "Hilda",   "Hugo",
    "Ibrahim",  "Ida",      "Ignatius", "Ines",      "Ingrid",  "Irene",   "Isaac",    "Isabel",  "Ivan",
    "Jacob",    "Janet",    "Jasper",   "Jerome",    "Joan",    "Johanna", "Jonas",    "Joseph",  "Judith",
    "Julian",   "Karim",    "Kasper",   "Katherine", "Kenneth", "Kira",    "Klaus",    "Lara",    "Laurence",
    "Leah",     "Leon",     "Lidia",    "Linus",     "Lorenzo", "Louisa",  "Lucas",    "Lydia",   "Magnus",
    "Malcolm",  "Marcus",   "Margot",   "Marina",    "Martin",  "Matilda", "Maxim",    "Melanie", "Mikhail",
    "Miranda",  "Monica",   "Nadia",    "Naomi",     "Nathan",  "Nestor",  "Nicola",   "Nina",    "Noah",
    "Nora",     "Octavia",  "Olga",     "Oliver",    "Omar",    "Oscar",   "Ottilie",  "Pamela",  "Pascal",
    "Patrick",  "Paula",    "Peter",    "Petra",     "Philip",  "Priya",   "Quentin",  "Rachel",  "Ramona",
    "Raphael",  "Regina",   "Rhea",     "Robert",    "Roland",  "Rosa",    "Rufus",    "Ruth",    "Samuel",
    "Sandra",   "Selma",    "Sergei",   "Sibyl",     "Simon",   "Sofia",   "Stefan",   "Stella",  "Sven",
    "Tamara",   "Teresa",   "Theodor",  "Thomas",    "Tobias",  "Ulrich",  "Una",      "Ursula",  "Valentin",
    "Vera",     "Victor",   "Viola",    "Walter",    "Wanda",   "Wilhelm", "Winifred", "Xavier",  "Yara",
    "Yusuf",    "Yvonne",   "Zachary",  "Zoe"};

constexpr std::array<std::string_view, 186> kFamily = {
    "Abbott",  "Adler",   "Albrecht", "Andersen", "Archer",    "Asher",    "Atkins",    "Bailey",
    "Barlow",  "Bauer",   "Becker",   "Bennett",  "Bergman",   "Bishop",   "Blake",     "Brandt",
    "Brooks",  "Burgess", "Calloway", "Carver",   "Castillo",  "Chandler", "Chavez",    "Clarke",
    "Conway",  "Cooper",  "Costa",    "Crane",    "Cruz",      "Dalton",   "Danvers",   "Davies",
    "Delgado", "Dixon",   "Donovan",  "Draper",   "Duarte",    "Dunn",     "Eaton",     "Eckert",
    "Ellis",   "Emerson", "Engel",    "Espinoza", "Evans",     "Faber",    "Farrell",   "Ferrari",
    "Fischer", "Fleming", "Flores",   "Foster",   "Fowler",    "Franklin", "Fuchs",     "Gallagher",
    "Garner",  "Gibson",  "Glover",   "Goldman",  "Gomez",     "Graham",   "Greene",    "Gruber",
    "Haas",    "Haley",   "Hammond",  "Hansen",   "Harper",    "Hayes",    "Herrera",   "Hoffman",
    "Holm",    "Horvat",  "Hughes",   "Hunter",   "Ibarra",    "Ingram",   "Irving",    "Ivanov",
    "Jackson", "Jansen",  "Jarvis",   "Jensen",   "Johansson", "Jordan",   "Kaplan",    "Keller",
    "Kendall", "Kessler", "Klein",    "Koch",     "Kovac",     "Kramer",   "Lambert",   "Lang",
    "Larsen",  "Lawson",  "Lehmann",  "Lindgren", "Lopez",     "Lowell",   "Lund",      "Maddox",
    "Mahler",  "Marsh",   "Mason",    "Mendez",   "Mercer",    "Meyer",    "Miller",    "Monroe",
    "Moreau",  "Morgan",  "Mueller",  "Murphy",   "Navarro",   "Nelson",   "Newman",    "Nielsen",
    "Nolan",   "Norris",  "Novak",    "Nunez",    "Olsen",     "Ortega",   "Osborne",   "Owens",
    "Palmer",  "Parker",  "Pavlov",   "Pearson",  "Peretz",    "Perkins",  "Petrov",    "Phelps",
    "Porter",  "Quick",   "Quinn",    "Ramirez",  "Rasmussen", "Reed",     "Reyes",     "Richter",
    "Rivera",  "Romano",  "Rossi",    "Russell",  "Salazar",   "Sanders",  "Schmidt",   "Schubert",
    "Sharma",  "Shaw",    "Silva",    "Slater",   "Sorensen",  "Spencer",  "Steiner",   "Sutton",
    "Tanaka",  "Taylor",  "Thorne",   "Torres",   "Tucker",    "Turner",   "Underwood", "Upton",
    "Vance",   "Vargas",  "Vaughn",   "Vogel",    "Wagner",    "Walsh",    "Weber",     "Weiss",
    "Whitman", "Winter",  "Wolff",    "Xiang",    "Yates",     "Young",    "Zamora",    "Zeller",
    "Ziegler", "Zimmer"};

}  // namespace

std::span<const std::string_view> given_names() {
  return kGiven;
}

std::span<const std::string_view> family_names() {
  return kFamily;
}

}  // namespace rlcpp::env
