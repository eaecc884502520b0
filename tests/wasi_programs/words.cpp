// Counts words with the containers and algorithms of libc++.
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

struct Shape {
    virtual ~Shape() = default;
    virtual double area() const = 0;
};

struct Square : Shape {
    explicit Square(double side) : side(side) {}
    double area() const override { return side * side; }
    double side;
};

struct Circle : Shape {
    explicit Circle(double radius) : radius(radius) {}
    double area() const override { return 3.0 * radius * radius; }
    double radius;
};

std::string read_all(std::FILE *file) {
    std::string text;
    for (int c; (c = std::fgetc(file)) != EOF;) {
        text.push_back(static_cast<char>(std::tolower(c)));
    }
    return text;
}

std::vector<std::string> split(const std::string &text) {
    std::vector<std::string> words;
    std::string word;
    for (char c : text + " ") {
        if (std::isalpha(static_cast<unsigned char>(c))) {
            word.push_back(c);
        } else if (!word.empty()) {
            words.push_back(std::move(word));
            word.clear();
        }
    }
    return words;
}

}  // namespace

int main(int argc, char **argv) {
    std::FILE *file = argc > 1 ? std::fopen(argv[1], "r") : stdin;
    if (!file) {
        std::fprintf(stderr, "cannot open %s\n", argv[1]);
        return 1;
    }
    const auto words = split(read_all(file));
    std::unordered_map<std::string, int> counts;
    for (const auto &word : words) {
        counts[word]++;
    }
    std::vector<std::pair<std::string, int>> sorted(counts.begin(), counts.end());
    std::sort(sorted.begin(), sorted.end(), [](const auto &a, const auto &b) {
        return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    for (const auto &[word, count] : sorted) {
        std::printf("%4d %s\n", count, word.c_str());
    }
    std::map<std::size_t, std::set<std::string>> by_length;
    for (const auto &word : words) {
        by_length[word.size()].insert(word);
    }
    for (const auto &[length, group] : by_length) {
        std::printf("length %zu: %zu\n", length, group.size());
    }
    std::vector<std::unique_ptr<Shape>> shapes;
    shapes.push_back(std::make_unique<Square>(2.0));
    shapes.push_back(std::make_unique<Circle>(1.5));
    std::function<double(double, const std::unique_ptr<Shape> &)> add =
        [](double sum, const std::unique_ptr<Shape> &shape) { return sum + shape->area(); };
    std::printf("area %.2f\n", std::accumulate(shapes.begin(), shapes.end(), 0.0, add));
    return static_cast<int>(counts.size() % 100);
}
